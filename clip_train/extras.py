"""Optional packages: imported when a model asks for them, with one line that says what to install.

In: a module's name. Out: the module.
"""

import functools
import importlib
from types import ModuleType

from clip_train.errors import InputError


def import_extra(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """A module of an optional dependency.

    Raises:
        InputError: When it is not installed, or is and does not start.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{needed_for} needs the package {error.name}: install wit400m with the extra {extra!r}"
        ) from error
    except (ImportError, RuntimeError, AttributeError) as error:  # torchvision without its operators, for one
        raise InputError(f"{needed_for} needs {module}, which does not start here ({error})") from error


@functools.cache
def find_module(module: str) -> ModuleType | None:
    """A module that makes something faster where it is installed; None where it is not."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
