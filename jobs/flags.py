"""What several commands ask of their flags."""

import argparse


def require_least(parser: argparse.ArgumentParser, arguments: argparse.Namespace, **least: int) -> None:
    """Ends the command, with an error, where the value of a flag is too small.

    Args:
        parser: Of the command.
        arguments: What it gave.
        least: The smallest value that is allowed, by the names of flags with underscores.
    """
    for name, smallest in least.items():
        if getattr(arguments, name) < smallest:
            parser.error(f"--{name.replace('_', '-')} must be at least {smallest}, not {getattr(arguments, name)}")
