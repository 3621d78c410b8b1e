"""Functions compiled to machine code by numba, and whether that works here.

In: a function over numpy arrays and numbers, in the part of Python that numba compiles. Out: the same function, as fast
as C, compiled at its first call with each set of types and kept in numba's cache: beside its file, or else in the
user's cache folder, or where NUMBA_CACHE_DIR says. It lets go of Python's lock while it runs, and its floating-point
results are those of Python: nothing is reordered.

A compiled function takes seconds to make, so it must be worth it only once for a machine, not in every process:
whoever starts other processes calls it first, and where nothing can be kept, nothing is compiled. Whoever uses one
asks `find_obstacle` and has another way; he imports the module that defines it late, because numba takes half a second
to load.

Compiled functions that call each other belong in one file: a kept one is made anew when its own file changes, not when
another does. A constant from another file is kept with it too, so it must be one that never changes.

Source: numba's documentation, "Notes on caching".
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compile_kernel(function: _Function) -> _Function:
    """Compiles a function of a module at its first call, where that works, else leaves it as it is: right, but slow."""
    return function if find_obstacle() else cast(_Function, _compile(function))


@functools.cache
def find_obstacle() -> str:
    """Says why functions are not compiled here; an empty string if they are."""
    function: Callable[[], str] = find_obstacle.__wrapped__  # any one: nothing is compiled before a call
    try:
        compiled = _compile(function)
    except (ImportError, OSError) as error:
        return f"numba cannot be loaded: {error}"
    except RuntimeError as error:
        return f"numba finds no folder to keep compiled functions in, set NUMBA_CACHE_DIR: {error}"
    if compiled is function:
        return "NUMBA_DISABLE_JIT is set"
    return ""


def _compile(function: Callable[..., Any]) -> Any:
    import numba

    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
