"""Every package imports only what pyproject.toml declares for it, and what is declared is imported."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
OWN = {*PACKAGES, "tests", *sys.stdlib_module_names}
DISTRIBUTIONS = packages_distributions()


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def distributions(module: str) -> set[str]:
    """Whose module it is: by what is installed, or else by the module's own name."""
    return {canonicalize_name(name) for name in DISTRIBUTIONS.get(module, [module])}


def modules(tree: ast.AST) -> Iterator[str]:
    """Top names of the modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def optional_modules(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, extra) of every `import_extra(module, extra=extra)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_extra":
            extra = next(word.value for word in node.keywords if word.arg == "extra")
            yield ast.literal_eval(node.args[0]), ast.literal_eval(extra)


@pytest.fixture(scope="module")
def project(checkout) -> dict:
    return tomllib.loads((checkout / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def declared(project) -> dict[str, set[str]]:
    """The distributions each package may import."""
    base = names(project["dependencies"])
    return {
        "vocab": base,
        "pipeline": base,
        "jobs": base,
        "clip_train": names(project["optional-dependencies"]["train"]),
    }


def trees(checkout: Path, *folders: str) -> Iterator[tuple[Path, ast.AST]]:
    for folder in folders:
        for path in sorted((checkout / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_declared_for_it(checkout, declared, package):
    for path, tree in trees(checkout, package):
        undeclared = {name for name in set(modules(tree)) - OWN if not distributions(name) & declared[package]}
        assert not undeclared, f"{path.name} imports {sorted(undeclared)}"


def test_an_optional_import_names_the_extra_that_brings_it(checkout, project):
    found = [pair for _, tree in trees(checkout, *PACKAGES) for pair in optional_modules(tree)]
    assert found
    for module, extra in found:
        assert distributions(module) & names(project["optional-dependencies"][extra]), (module, extra)


def test_what_is_declared_is_imported(checkout, declared):
    for packages in (("vocab", "pipeline", "jobs"), ("clip_train",)):
        imported = {name for _, tree in trees(checkout, *packages) for name in modules(tree)}
        used = {distribution for module in imported for distribution in distributions(module)}
        assert not declared[packages[0]] - used


def test_tests_import_only_what_some_extra_declares(checkout, project):
    extras = project["optional-dependencies"]
    declared = names(project["dependencies"] + extras["train"] + extras["dev"])
    for path, tree in trees(checkout, "tests"):
        undeclared = {name for name in set(modules(tree)) - OWN if not distributions(name) & declared}
        assert not undeclared, f"{path.name} imports {sorted(undeclared)}"


def test_a_minimum_is_the_same_wherever_it_is_declared(project):
    declared: dict[str, set[str]] = {}
    for line in chain(project["dependencies"], *project["optional-dependencies"].values()):
        declared.setdefault(canonicalize_name(Requirement(line).name), set()).add(str(Requirement(line).specifier))
    assert not {name: minima for name, minima in declared.items() if len(minima) > 1}


def test_the_lock_has_every_dependency_in_a_version_that_is_allowed(checkout, project):
    lines = (checkout / "requirements.lock").read_text().split("\n")
    locked: dict[str, list[str]] = {}
    for requirement in map(Requirement, filter(None, lines)):
        locked.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier)[2:])
    extras = project["optional-dependencies"]
    for line in project["dependencies"] + extras["train"] + extras["dev"]:
        requirement = Requirement(line)
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), line


def test_the_lock_names_no_server(checkout):
    assert "://" not in (checkout / "requirements.lock").read_text()
