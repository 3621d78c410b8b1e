"""The layers of docs/design.md: who may import whom, read from the source without running it."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
BEAM_FREE = ("pipeline.base.options", "pipeline.base.shard_format")
ALLOWED = {
    "vocab": ("vocab",),
    "pipeline": ("pipeline", "vocab"),
    "jobs": ("jobs", "pipeline", "vocab"),
    "clip_train": ("clip_train", *BEAM_FREE),
}
NETWORKED = ("pipeline.fetching", "pipeline.dumps.downloads", "clip_train.data.remote")
STAGES = ("vocabulary", "extraction", "matching", "balancing", "fetching", "sharding")


def imported_modules(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(checkout: Path, package: str) -> list[Path]:
    return sorted((checkout / package).rglob("*.py"))


def is_below(module: str, parents: tuple[str, ...]) -> bool:
    return any(module == parent or module.startswith(parent + ".") for parent in parents)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_below_it(checkout, package):
    for path in sources(checkout, package):
        ours = {name for name in imported_modules(path) if name.split(".")[0] in PACKAGES}
        # `from pipeline import options` names the package too; the longer name decides
        ours -= {name for name in ours if any(other.startswith(name + ".") for other in ours)}
        wrong = {name for name in ours if not is_below(name, ALLOWED[package])}
        assert not wrong, f"{path.name} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", ["vocab", "clip_train"])
def test_vocabulary_and_trainer_do_without_beam(checkout, package):
    for path in sources(checkout, package):
        assert not any(is_below(name, ("apache_beam",)) for name in imported_modules(path)), path.name


@pytest.mark.parametrize("module", BEAM_FREE)
def test_what_the_trainer_shares_needs_only_the_standard_library(checkout, module):
    path = checkout / (module.replace(".", "/") + ".py")
    import sys

    assert {name.split(".")[0] for name in imported_modules(path)} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(checkout, stage):
    found = [checkout / "pipeline" / f"{stage}.py", *(checkout / "pipeline" / stage).glob("*.py")]
    others = tuple(f"pipeline.{other}" for other in STAGES if other != stage)
    assert any(path.exists() for path in found)
    for path in filter(Path.exists, found):
        wrong = {name for name in imported_modules(path) if is_below(name, others)}
        assert not wrong, f"{path.name} imports {sorted(wrong)}"


def test_what_stages_share_imports_no_stage(checkout):
    stages = tuple(f"pipeline.{stage}" for stage in STAGES)
    for path in sources(checkout, "pipeline"):
        if path.relative_to(checkout / "pipeline").parts[0].removesuffix(".py") not in STAGES:
            assert not any(is_below(name, stages) for name in imported_modules(path)), path.name


def test_the_network_is_touched_only_where_images_or_dumps_are_fetched(checkout):
    network = ("aiohttp", "requests", "socket", "urllib.request", "http.client")
    for package in ("vocab", "pipeline", "clip_train"):
        for path in sources(checkout, package):
            if is_below(path.relative_to(checkout).as_posix().replace("/", "."), NETWORKED):
                continue
            assert not any(is_below(name, network) for name in imported_modules(path)), path.name


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_those_of_this_checkout(checkout, package):
    module = importlib.import_module(package)
    assert Path(module.__file__).resolve().is_relative_to(checkout)
