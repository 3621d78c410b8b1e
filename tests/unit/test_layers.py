"""The layers of docs/design.md: who may import whom, directly and through others, read from the source."""

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.base.flow import STAGES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
STAGE_ROOMS = tuple(sorted({".".join(entry.stage.split(".")[:2]) for entry in STAGES.values()}))
BELOW = ("pipeline.base", "pipeline.web", "vocab")
# What a room may import of ours, besides itself; the longest name that fits a module is its room.
ALLOWED = {
    "vocab.kernels": (),
    "vocab": ("vocab.kernels",),
    "pipeline": (),
    "pipeline.base": (),
    "pipeline.web": ("pipeline.base",),
    "pipeline.steps": ("pipeline.base",),
    "pipeline.slicing": ("pipeline.base", "pipeline.steps"),
    "pipeline.dumps": BELOW,
    "pipeline.pixels": BELOW,
    **dict.fromkeys(STAGE_ROOMS, (*BELOW, "pipeline.pixels", "pipeline.steps")),
    "jobs": ("pipeline", "vocab"),
    "clip_train": ("pipeline.base",),
}
KNOW_BEAM = {"pipeline.steps", "jobs.engines", "jobs.lead", "jobs.task_worker", "jobs.worker"}
WITHOUT_BEAM = ("vocab", "pipeline.base", "pipeline.web", "pipeline.dumps", "pipeline.pixels", "clip_train")
NETWORKED = ("pipeline.fetching", "pipeline.dumps.downloads", "clip_train.data.remote")


def module_name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def is_below(module: str, parents: tuple[str, ...]) -> bool:
    return any(module == parent or module.startswith(parent + ".") for parent in parents)


def names_in(nodes) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def imported_anywhere(module: str) -> frozenset[str]:
    """Dotted names that a module imports, wherever in its file; a name of ours is that of a module."""
    found = names_in(ast.walk(ast.parse(SOURCES[module].read_text())))
    ours = {name for name in found if name in SOURCES}
    packages = {name for name in ours if any(other.startswith(name + ".") for other in ours)}
    return frozenset({name for name in found if name.split(".")[0] not in PACKAGES} | (ours - packages))


@functools.cache
def loaded_with(module: str) -> frozenset[str]:
    """What the top of a module's file imports, packages around it as well; and so on."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in SOURCES:
            parts = name.split(".")
            waiting += [".".join(parts[:end]) for end in range(1, len(parts))]
            waiting += names_in(ast.parse(SOURCES[name].read_text()).body)
    return frozenset(seen)


def room_of(module: str) -> str:
    return max((room for room in ALLOWED if is_below(module, (room,))), key=len)


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_the_rooms_below_its_own(module):
    room = room_of(module)
    ours = {name for name in imported_anywhere(module) if name.split(".")[0] in PACKAGES}
    wrong = {name for name in ours if room_of(name) != room and not is_below(name, ALLOWED[room])}
    assert not wrong, f"{module} imports {sorted(wrong)}"


def test_no_module_imports_itself_through_others():
    graph = {module: names_in(ast.parse(path.read_text()).body) & SOURCES.keys() for module, path in SOURCES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_beam_is_imported_in_few_modules():
    assert {module for module in SOURCES if is_below_any(imported_anywhere(module), "apache_beam")} == KNOW_BEAM


def is_below_any(names, package: str) -> bool:
    return any(is_below(name, (package,)) for name in names)


@pytest.mark.parametrize("module", [module for module in SOURCES if is_below(module, WITHOUT_BEAM)])
def test_what_is_below_the_stages_loads_no_beam_through_others(module):
    assert not is_below_any(loaded_with(module), "apache_beam")


def test_what_is_below_the_stages_runs_where_beam_cannot_be_imported():
    modules = [module for module in SOURCES if is_below(module, WITHOUT_BEAM) and not is_below(module, ("clip_train",))]
    modules.remove("vocab.matcher_compiled") if not numba_works() else None
    block = "import sys; sys.modules['apache_beam'] = None"
    code = "; ".join([block, *(f"import {module}" for module in modules)])
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=100)


def numba_works() -> bool:
    from vocab.kernels.compiled import find_obstacle

    return not find_obstacle()


@pytest.mark.parametrize("module", ["pipeline.base.options", "pipeline.base.shard_format"])
def test_what_the_trainer_shares_needs_only_the_standard_library(module):
    others = {name.split(".")[0] for name in loaded_with(module)} - {"pipeline"}
    assert others <= set(sys.stdlib_module_names)


def test_the_network_is_touched_only_where_images_or_dumps_are_fetched():
    network = ("aiohttp", "requests", "socket", "urllib.request", "http.client")
    for module in SOURCES:
        if is_below(module, ("jobs", *NETWORKED)):
            continue
        assert not any(is_below(name, network) for name in imported_anywhere(module)), module


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_those_of_this_checkout(checkout, package):
    module = importlib.import_module(package)
    assert Path(module.__file__).resolve().is_relative_to(checkout)
