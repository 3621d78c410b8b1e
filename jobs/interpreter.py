"""Python processes that find our packages where this one found them, whatever lies in the working directory."""

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def module_command(module: str) -> list[str]:
    """The words that run a module; the working directory, where a folder may be called ``vocab``, is not looked at."""
    return [sys.executable, "-P", "-m", module]


def module_environment() -> dict[str, str]:
    """The environment in which `module_command` finds our packages."""
    path = os.pathsep.join(filter(None, [HOME, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def put_home_first() -> None:
    """Makes ``python -m jobs`` look into our packages first, not into the working directory."""
    if sys.path[0] in ("", os.getcwd()):
        sys.path[0] = HOME
