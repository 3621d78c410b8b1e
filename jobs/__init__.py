"""The command-line program: one module per command, each a thin `main(argv) -> exit code`."""
