"""Functions compiled by numba that run without it: their machine code is kept in a file, which llvmlite alone loads.

In: a function over arrays and whole numbers, and what it takes. Out: the same function as machine code. To run anything
that numba keeps, a process needs numba, which takes it 0.6 CPU seconds and 90 MB; loading a file of machine code takes
0.05 and 15. So this is for kernels that many processes need for a short while. They are simpler than those of
`vocab.kernels.compiled`: they fill arrays that they are given, make none (LLVM is asked: such a kernel is refused), and
return nothing.

Files lie where numba's would: where NUMBA_CACHE_DIR says, else beside the source, else in the user's cache folder. They
are named by all that makes them what they are: the source, the compilers, the processor.

Source: numba's documentation, "Environment variables", "Notes on caching", and of the arguments of a compiled function,
"Notes on architecture" (an array is its owners, length, item size, data, shape and strides, one after another).
"""

import ctypes
import functools
import hashlib
import inspect
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

_Filled = TypeVar("_Filled", bound=Callable[..., None])

_DIGEST_BYTES: Final = 32
_COMPILERS: Final = ("numba", "llvmlite", "numpy")
_ENTRY: Final = "entry"
_OPTIONS: Final[Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # of numba
_SMAPS: Final = "/proc/self/smaps"
_OWN_PAGES: Final = ("Anonymous:", "Swap:")  # of which there is nothing in the file
_COMPILER: Final = "libllvmlite"
_DATA_AT: Final = object.__basicsize__  # in an array object: PyArrayObject of numpy's C API
_SHAPE_AT: Final = _DATA_AT + 16
_OWNER_FREED: Final = "define void @NRT_MemInfo_call_dtor(ptr %info) { unreachable }"  # arrays come without owners


class Array(NamedTuple):
    """An argument that is an array, C-contiguous.

    Attributes:
        dtype: Of its elements.
        num_axes: Its axes.
    """

    dtype: np.dtype[Any]
    num_axes: int


Kind = Array | type[int]


class NotCompiled(RuntimeError):
    """A kernel has no machine code here; the message says why."""


class Kernel:
    """A function as machine code, which is loaded, or made, at its first call; for any number of threads.

    It lets go of Python's lock while it runs.

    Args:
        function: Fills arrays; functions that it calls are of the same module. Division is numpy's.
        kinds: Of its arguments.
    """

    def __init__(self, function: FunctionType, kinds: Sequence[Kind]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._kinds = tuple(kinds)
        self._names = tuple(inspect.signature(function).parameters)
        self._lock = threading.Lock()
        self._loaded: _Loaded | str | None = None

    def __call__(self, *arguments: Any) -> None:
        """Fills arrays.

        Raises:
            NotCompiled: See `find_obstacle`.
            TypeError: When an argument is not of its kind.
        """
        loaded = self._load()
        if isinstance(loaded, str):
            raise NotCompiled(f"{self.function.__name__}: {loaded}")
        words: list[int] = []
        for name, kind, argument in zip(self._names, self._kinds, arguments, strict=True):
            if isinstance(kind, Array):
                if argument.dtype != kind.dtype or argument.ndim != kind.num_axes or not argument.flags.c_contiguous:
                    raise TypeError(f"{name} must be an array of {kind.dtype}, C-contiguous, with {kind.num_axes} axes")
                words.append(id(argument))
            else:
                words.append(argument)
        if loaded.call(*words):
            raise RuntimeError(f"{self.function.__name__}: its machine code met an error")

    def find_obstacle(self) -> str:
        """Says why there is no machine code here; an empty string if there is."""
        loaded = self._load()
        return loaded if isinstance(loaded, str) else ""

    def _load(self) -> "_Loaded | str":
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = _load_kernel(self.function, self._kinds)
        return self._loaded


def standalone(*kinds: Kind) -> Callable[[_Filled], Kernel]:
    """Makes a `Kernel` of a function.

    Args:
        kinds: Of its arguments.
    """
    return lambda function: Kernel(function, kinds)  # type: ignore[arg-type]


class _Loaded(NamedTuple):
    """Machine code in this process.

    Attributes:
        call: The function of its arguments, an array as the address of the Python object; gives 0 if all is well.
        engine: What holds the code.
    """

    call: Callable[..., int]
    engine: Any


def _load_kernel(function: FunctionType, kinds: Sequence[Kind]) -> _Loaded | str:
    """Loads the machine code of a function; makes it where it is not kept yet. Or says why that cannot be."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set"
    if not _are_arrays_known():
        return "numpy's arrays are not laid out as they used to be"
    try:
        name = f"{function.__name__}-{_identify(function, kinds)}.o"
        kept = _read_kept(folder := _find_folder(function), name)
        if kept is None:
            kept = _compile(function, kinds)
            _write_kept(folder, name, kept)
        return _open(kept, kinds)
    except ImportError as error:
        return f"numba cannot be loaded: {error}"
    except OSError as error:
        return f"numba finds no folder to keep compiled functions in, set NUMBA_CACHE_DIR: {error}"
    except (ValueError, RuntimeError, AttributeError, KeyError) as error:  # of a numba that works in another way
        return f"what numba {version('numba')} makes does not stand alone: {error}"


def _are_arrays_known() -> bool:
    """Whether an array object lies in memory as compiled code expects it."""
    array = np.empty((2, 3), np.uint8)
    data = ctypes.c_void_p.from_address(id(array) + _DATA_AT).value
    shape = ctypes.c_void_p.from_address(id(array) + _SHAPE_AT).value
    return data == array.ctypes.data and shape is not None and [*(ctypes.c_ssize_t * 2).from_address(shape)] == [2, 3]


def _identify(function: FunctionType, kinds: Sequence[Kind]) -> str:
    """A name for all that decides about the machine code."""
    import llvmlite.binding as llvm

    with open(function.__code__.co_filename, "rb") as file:
        source = file.read()
    with open(__file__, "rb") as file:
        source += file.read()
    compilers = [version(package) for package in _COMPILERS]
    processor = [llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    described = repr([function.__name__, kinds, compilers, processor, sys.implementation.cache_tag])
    return hashlib.sha256(source + described.encode()).hexdigest()[:16]


def _find_folder(function: FunctionType) -> str:
    """The first folder that files can be kept in.

    Raises:
        OSError: When there is none.
    """
    beside = os.path.join(os.path.dirname(function.__code__.co_filename), "__pycache__")
    users = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "wit400m")
    asked = os.environ.get("NUMBA_CACHE_DIR")
    problem = OSError("none is given")
    for folder in (asked,) if asked else (beside, users):
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            problem = error
    raise problem


def _read_kept(folder: str, name: str) -> bytes | None:
    """Machine code that was kept; None if it was not, or is damaged."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write_kept(folder: str, name: str, code: bytes) -> None:
    descriptor, aside = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(aside, os.path.join(folder, name))
    except OSError:
        os.unlink(aside)
        raise


def _compile(function: FunctionType, kinds: Sequence[Kind]) -> bytes:
    """The object file of a function, which needs nothing of numba.

    Raises:
        ValueError: When it would need something.
    """
    import llvmlite.binding as llvm
    import numba

    compiled = _compile_by_numba(function)
    signature = tuple(
        numba.types.Array(numba.from_dtype(kind.dtype), kind.num_axes, "C")
        if isinstance(kind, Array)
        else numba.types.intp
        for kind in kinds
    )
    compiled.compile(signature)
    symbol = compiled.overloads[signature].fndesc.llvm_func_name
    module = llvm.parse_assembly(compiled.inspect_llvm(signature))
    module.link_in(llvm.parse_assembly(_OWNER_FREED))
    module.link_in(llvm.parse_assembly("\n".join(_describe_entry(symbol, kinds))))
    for defined in (*module.functions, *module.global_variables):
        if not defined.is_declaration and defined.name != _ENTRY:
            defined.linkage = "internal"
    machine = _target_machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    needed = [one.name for one in module.functions if one.is_declaration and not one.name.startswith("llvm.")]
    if needed:
        raise ValueError(f"{function.__name__}: a kernel that stands alone must not need {', '.join(needed)}")
    code: bytes = machine.emit_object(module)
    return code


def _describe_entry(symbol: str, kinds: Sequence[Kind]) -> Iterator[str]:
    """LLVM's assembly of a function that takes arrays apart, as a compiled one wants them, and calls that."""
    inner, lines = ["ptr %result", "ptr %error"], []
    for number, kind in enumerate(kinds):
        if isinstance(kind, Array):
            more_lines, words = _take_apart(f"%a{number}", kind)
            lines += more_lines
            inner += words
        else:
            inner.append(f"i64 %a{number}")
    outer = [f"{'ptr' if isinstance(kind, Array) else 'i64'} %a{number}" for number, kind in enumerate(kinds)]
    types = ", ".join(word.partition(" ")[0] for word in inner)
    yield f'declare i32 @"{symbol}"({types})'
    yield f"define i32 @{_ENTRY}({', '.join(outer)}) {{"
    yield "%result = alloca ptr"
    yield "%error = alloca ptr"
    yield from lines
    yield f'%status = call i32 @"{symbol}"({", ".join(inner)})'
    yield "ret i32 %status"
    yield "}"


def _take_apart(name: str, kind: Array) -> tuple[list[str], list[str]]:
    """Lines that read what an array object says of itself, and the words of the array for a compiled function."""
    item = kind.dtype.itemsize
    lines = [
        f"{name}.data.at = getelementptr i8, ptr {name}, i64 {_DATA_AT}",
        f"{name}.data = load ptr, ptr {name}.data.at",
        f"{name}.shape.at = getelementptr i8, ptr {name}, i64 {_SHAPE_AT}",
        f"{name}.shape = load ptr, ptr {name}.shape.at",
        f"{name}.stride{kind.num_axes - 1} = add i64 0, {item}",
    ]
    for axis in reversed(range(kind.num_axes)):
        below = f"{name}.stride{axis - 1}" if axis else f"{name}.bytes"
        lines += [
            f"{name}.at{axis} = getelementptr i64, ptr {name}.shape, i64 {axis}",
            f"{name}.length{axis} = load i64, ptr {name}.at{axis}",
            f"{below} = mul i64 {name}.length{axis}, {name}.stride{axis}",
        ]
    lines.append(f"{name}.size = udiv exact i64 {name}.bytes, {item}")
    words = ["ptr null", "ptr null", f"i64 {name}.size", f"i64 {item}", f"ptr {name}.data"]
    words += [f"i64 {name}.{what}{axis}" for what in ("length", "stride") for axis in range(kind.num_axes)]
    return lines, words


def _compile_by_numba(function: FunctionType) -> Any:
    """A function, and those of its module that it calls, each of them once."""
    import numba

    compiled: dict[FunctionType, Any] = {}

    def compile_once(one: FunctionType) -> Any:
        if one not in compiled:
            names = {name: one.__globals__.get(name) for name in one.__code__.co_names}
            called = {
                name: compile_once(value)
                for name, value in names.items()
                if isinstance(value, FunctionType) and value.__module__ == function.__module__
            }
            alone = FunctionType(one.__code__, one.__globals__ | called, one.__name__)
            compiled[one] = numba.njit(**_OPTIONS)(alone)
        return compiled[one]

    return compile_once(function)


def _open(code: bytes, kinds: Sequence[Kind]) -> _Loaded:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _let_go_of_compiler()
    words = [ctypes.c_void_p if isinstance(kind, Array) else ctypes.c_ssize_t for kind in kinds]
    return _Loaded(ctypes.CFUNCTYPE(ctypes.c_int32, *words)(engine.get_function_address(_ENTRY)), engine)


def _let_go_of_compiler() -> None:
    """Gives back the memory of LLVM's own code, 45 MB, which comes again from its file should it be needed."""
    if not os.path.exists(_SMAPS):  # this is no Linux
        return
    with open(_SMAPS) as file:
        for start, end in _find_unwritten(file, _COMPILER):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _find_unwritten(lines: Iterable[str], library: str) -> list[tuple[int, int]]:
    """Where a library lies that can be read from its file again, by smaps (proc_pid_smaps(5)).

    What is not writable may have been written to nevertheless, when the library was loaded and addresses filled in.
    """
    found: list[tuple[int, int]] = []
    is_found = False
    for line in lines:
        words = line.split()
        if not words[0].endswith(":"):
            is_found = "w" not in words[1] and library in os.path.basename(words[-1])
            if is_found:
                start, end = (int(number, 16) for number in words[0].split("-"))
                found.append((start, end))
        elif is_found and words[0] in _OWN_PAGES and words[1] != "0":
            found.pop()
            is_found = False
    return found


def _target_machine() -> Any:
    """This processor; one for each use, for an engine takes its own along."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
