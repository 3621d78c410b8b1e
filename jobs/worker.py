"""A worker process of a local map step: Beam's SDK harness, silent unless something fails.

Its log records go to the process that started it, which prints what it wants; when that process is gone the worker
leaves without a word, for finished files are whole and nobody waits for the rest.
"""

import logging
import os
import sys
import threading


def main() -> int:
    """Runs the harness until the parent has no more work."""
    parent = os.getppid()

    def is_orphan() -> bool:
        return os.getppid() != parent

    handler = logging.StreamHandler()
    handler.setLevel(logging.CRITICAL)
    handler.addFilter(lambda record: not is_orphan())
    logging.basicConfig(handlers=[handler])
    default_hook = threading.excepthook
    threading.excepthook = lambda args: None if is_orphan() else default_hook(args)
    from apache_beam.runners.worker import sdk_worker_main  # late: importing Beam logs

    try:
        sdk_worker_main.main(sys.argv)
    except Exception:
        if not is_orphan():
            raise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
