"""How many small faults the tests of the pure modules notice: ``make mutants``.

A mutant is a module with one operator, number, condition or slice changed. It takes the module's place in a forked
process, which has Beam and the other libraries loaded already; its doctests and the tests listed for it are run there.
A mutant that they do not notice survives: a claim is missing, or the change makes no difference (`EQUIVALENT`).

Left out: what only wires (stages, the functions that make steps, packed rows or the files of a unit), annotations,
strings, and the defaults of options.

    python tests/mutants.py [--sample 20] [--seed 0] [--jobs 2] [MODULE ...]
"""

import argparse
import ast
import doctest
import importlib
import importlib.util
import io
import multiprocessing
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from copy import copy
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "tests" / "unit"
PACKAGES = ("vocab", "pipeline", "jobs", "clip_train", "tests")

# Module: its tests, in tests/unit, the quickest first.
TESTS = {
    "pipeline.base.ids": ("test_ids", "test_selecting"),
    "pipeline.web.urls": ("test_urls",),
    "pipeline.base.drops": ("test_drops",),
    "pipeline.matching.stage": ("test_match_tables",),
    "pipeline.base.arrays": ("test_balance_functions",),
    "pipeline.balancing.lots": ("test_golden", "test_balance_functions", "test_lots"),
    "pipeline.balancing.caps": ("test_caps",),
    "pipeline.balancing.rules": ("test_balance_functions",),
    "pipeline.balancing.sampling": ("test_balance_functions",),
    "pipeline.balancing.pool": ("test_balance_functions",),
    "pipeline.balancing.keeping": ("test_balance_functions",),
    "pipeline.balancing.final": ("test_balance_functions",),
    "pipeline.balancing.stage": ("test_balance_functions",),
    "pipeline.sharding.selection.selecting": ("test_golden", "test_selecting", "test_select_functions"),
    "pipeline.sharding.selection.scores": ("test_scores", "test_select_functions"),
    "pipeline.sharding.packing.layout": ("test_selecting", "test_dealing"),
    "pipeline.sharding.packing.planning": ("test_selecting", "test_dealing"),
    "pipeline.sharding.packing.splits": ("test_dealing",),
    "pipeline.sharding.packing.ranges": ("test_selecting",),
    "pipeline.sharding.stored_samples": ("test_select_functions", "test_selecting"),
    "pipeline.web.sites": ("test_sites",),
    "pipeline.fetching.routed_files": ("test_routed_files",),
    "pipeline.fetching.planning": ("test_golden", "test_planning"),
    "pipeline.fetching.hosts": ("test_hosts",),
    "pipeline.pixels.images": ("test_images",),
    "pipeline.extraction.image_references": ("test_image_references",),
}

# Mutants that do the same as the module, as they are printed: why.
EQUIVALENT = {
    "ids: data.reshape(-1, 2) -> data.reshape(-2, 2)": "any negative side is the one to find",
    "urls: reference[:1] -> reference[:0]": "a shorter way for plain references is not taken",
    "urls: reference[:1] -> reference[:2]": "a shorter way for plain references is taken less often",
    "urls: reference[:1] -> reference[:]": "a shorter way for plain references is taken less often",
    "lots: shares < 1 -> shares <= 1": "numpy casts 2^64 to the largest word",
    "lots: cap - 1 -> cap - 2": "with its neighbours in place an element is in place",
    "lots: len(lots) - 1 -> len(lots) - 2": "with its neighbours in place an element is in place",
    "caps: held[-1] == 0 -> held[-1] == -1": "the smallest count is 0 then, and the cap 1 as well",
    "caps: counts.max(initial=1) -> counts.max(initial=0)": "the cap is 1 at least, where the search begins",
    "caps: low + high + 1 -> low + high + 2": "another way to halve what is left",
    "selecting: records['duplicate_id'].T[::-1] -> records['duplicate_id'].T[:]": "equal ids come together as well",
    "selecting: records['duplicate_id'].T[::-1] -> records['duplicate_id'].T[::1]": "equal ids come together as well",
    "scores: SCORE_COLUMNS[1:] -> SCORE_COLUMNS[:]": "a column is read for nothing",
    "scores: SCORE_COLUMNS[1:] -> SCORE_COLUMNS[0:]": "a column is read for nothing",
    "planning: max(0, unit_urls - rows) -> max(-1, unit_urls - rows)": "no bucket fits into either",
    "planning: np.bincount(lanes, minlength=1) -> np.bincount(lanes, minlength=0)": "units without lanes are none",
    "planning: np.bincount(lanes, minlength=1) -> np.bincount(lanes, minlength=2)": "no lane beyond is asked for",
    "planning: plan.num_parts[buckets] > 1 -> plan.num_parts[buckets] >= 1": "a hash of no account is computed",
    "planning: plan.num_parts[buckets] > 1 -> plan.num_parts[buckets] > 0": "a hash of no account is computed",
    "drops: {name.removesuffix('/in'): 0 for name in counts if name.endswith('/in')} -> "
    "{name.removesuffix('/in'): 1 for name in counts if name.endswith('/in')}": "only the keys are used",
    "drops: {name.removesuffix('/in'): 0 for name in counts if name.endswith('/in')} -> "
    "{name.removesuffix('/in'): -1 for name in counts if name.endswith('/in')}": "only the keys are used",
    "hosts: 1 / rules.host_rate if rules.host_rate else 0.0 -> 1 / rules.host_rate if rules.host_rate else -1.0": (
        "the next start is never before now"
    ),
    "images: {'none': 0, 'short_side': min(size), 'long_side': max(size)} -> "
    "{'none': -1, 'short_side': min(size), 'long_side': max(size)}": "a side of at most 1 is never shrunk",
    "images: {'none': 0, 'short_side': min(size), 'long_side': max(size)} -> "
    "{'none': 1, 'short_side': min(size), 'long_side': max(size)}": "a side of at most 1 is never shrunk",
    "hosts: self._number = 0 -> self._number = 1": "only the order of the numbers counts",
    "hosts: self._number = 0 -> self._number = -1": "only the order of the numbers counts",
    "hosts: self._throttled_at = -1.0 -> self._throttled_at = 1.0": "before the first request of any run",
    "hosts: self._throttled_at = -1.0 -> self._throttled_at = -2.0": "before the first request of any run",
    "hosts: self._throttled_at = -1.0 -> self._throttled_at = -0.0": "before the first request of any run",
    "images: side <= rules.image_size -> side < rules.image_size": "the size is the same after shrinking by nothing",
    "images: image.getexif().get(_ORIENTATION_TAG, 1) -> image.getexif().get(_ORIENTATION_TAG, 0)": "neither turns",
    "images: np.clip((wide + 128) // 257, 0, 255) -> np.clip((wide + 128) // 257, -1, 255)": "no value is below 0",
    "images: np.clip((wide + 128) // 257, 0, 255) -> np.clip((wide + 128) // 257, 0, 256)": "no value is above 255",
    "images: 255 -> 256": "Pillow clips colours",
    "image_references: '#' in name -> '#' not in name": "a name without either mark is its own first part",
    "image_references: 40 -> 39": "no name of a placeholder is so long",
    "image_references: 40 -> 41": "no name of a placeholder is so long",
    "image_references: len(name) > MAX_PLACEHOLDER_CHARS -> len(name) >= MAX_PLACEHOLDER_CHARS": "as above",
    "image_references: len(name) > MAX_PLACEHOLDER_CHARS or name[:3].lower() not in PLACEHOLDER_STARTS -> "
    "len(name) > MAX_PLACEHOLDER_CHARS and name[:3].lower() not in PLACEHOLDER_STARTS": "the pattern decides then",
    "image_references: reference[:11] -> reference[:12]": "the slice only spares work",
    "image_references: reference[:11] -> reference[:]": "the slice only spares work",
}
# How many groups, rows or files are handled at a time, and rows that are shuffled.
_CONSTANTS_OF_WIRING = {
    "GROUP",
    "ROUTED",
    "_GROUP_ROWS",
    "_KEPT_SITES",
    "_MOST_GROUP_UNITS",
    "_MOST_HOSTS",
    "_NUM_BUCKETS",
    "_READERS",
    "_SAMPLED_PAIRS",
    "_MIN_ROWS",
    "_SAMPLE",
    "_SCORE",
}

_WIRING = {"Stage", "NamedTuple", "StrEnum"}
_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.MatMult: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}
_WIRED = re.compile(r"\bStep\b|\b(?:Map|Sum)Units\b|\bGroupPacked\b|tuple\[int, bytes\]")  # steps, what is shuffled
_MAX_CPU_S = 12  # of one mutant's tests; the slowest take a quarter of it
_MAX_S = 600.0


class Mutant(NamedTuple):
    """One change to a module's syntax tree: `field` of `parent`, at `place` if it is a list, becomes `new`."""

    module: str
    line: int
    change: str
    parent: ast.AST
    field: str
    place: int | None
    new: ast.AST | None

    def apply(self) -> None:
        if self.place is None:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.place] = self.new

    def __str__(self) -> str:
        return f"{self.module}:{self.line}  {self.change}"


def make_mutants(module: str, tree: ast.Module) -> list[Mutant]:
    """All mutants of a module, in order of their lines."""
    found = []
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for parent in _walk(tree):
        for field, value in ast.iter_fields(parent):
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    for new in _replacements(parent, field, node):
                        mutant = Mutant(module, _line(node, parent), "", parent, field, place, new)
                        found.append(mutant._replace(change=_describe(mutant, node, parents)))
    return sorted(found, key=lambda mutant: mutant.line)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes whose parts are changed."""
    if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] in _WIRING for base in node.bases):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "option":
        return
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    if targets and ast.unparse(targets[0]) in _CONSTANTS_OF_WIRING:
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    if isinstance(node, ast.FunctionDef) and node.returns:
        returns = ast.unparse(node.returns)
        if _WIRED.search(returns) or node.name.startswith(("write_", "_write_")):
            return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "format_spec", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def _replacements(parent: ast.AST, field: str, node: ast.AST) -> Iterator[ast.AST | None]:
    if field in ("annotation", "returns", "decorator_list", "format_spec"):
        return
    if field in ("test", "ifs") and not isinstance(parent, ast.Assert):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Compare(ops=ops):
            for place, operator in enumerate(ops):
                yield _with(node, ops=[*ops[:place], _COMPARISONS[type(operator)](), *ops[place + 1 :]])
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in _OPERATORS:
            yield _with(node, op=_OPERATORS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)
        case ast.Name(id=name) if name in _NAMES and isinstance(parent, ast.Call):
            yield _with(node, id=_NAMES[name])
        case ast.Attribute(attr=name) if name in _NAMES:
            yield _with(node, attr=_NAMES[name])
        case ast.Slice():
            yield from (_with(node, **{end: None}) for end in ("lower", "upper", "step") if getattr(node, end))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Delete() | ast.Raise():
            yield ast.Pass()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _line(node: ast.AST, parent: ast.AST) -> int:
    return getattr(node, "lineno", 0) or getattr(parent, "lineno", 0)


def _describe(mutant: Mutant, node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    """What was and what is; of a number, a name or a slice, the expression around it."""
    if isinstance(node, ast.Constant | ast.Name | ast.Slice | ast.UnaryOp):
        around = mutant.parent
        while isinstance(around, ast.UnaryOp | ast.Slice | ast.Tuple | ast.keyword):
            around = parents[around]
        if isinstance(around, ast.expr | ast.Assign):
            before = ast.unparse(around)
            mutant.apply()
            after = ast.unparse(around)
            mutant._replace(new=node).apply()
            return f"{_shorten(before)} -> {_shorten(after)}"
    return f"{_shorten(ast.unparse(node))} -> {_shorten(ast.unparse(ast.fix_missing_locations(mutant.new)))}"


def _shorten(code: str) -> str:
    code = " ".join(code.split())
    return code if len(code) <= 100 else f"{code[:60]} … {code[-38:]}"


class _MutantFinder:
    """Finds one module as a changed tree."""

    def __init__(self, module: str, path: str, tree: ast.Module) -> None:
        self._module, self._path, self._tree = module, path, tree

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        loader = SourceFileLoader(name, self._path)
        loader.get_code = lambda _: compile(self._tree, self._path, "exec")
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


def run_tests(module: str, mutant: Mutant | None, *, source: "Source", basetemp: str) -> None:
    """Ends this process with 0 if the tests pass."""
    if mutant:
        mutant.apply()
        ast.fix_missing_locations(source.tree)
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))  # of a loop without end
    sys.meta_path.insert(0, _MutantFinder(module, source.path, source.tree))
    sys.stdout = sys.stderr = io.StringIO()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if doctest.testmod(importlib.import_module(module)).failed:
        os._exit(1)
    os._exit(
        pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", f"--basetemp={basetemp}", *_files(module)])
    )


class Source(NamedTuple):
    """A module's file and syntax tree."""

    path: str
    tree: ast.Module


def read_source(module: str) -> Source:
    path = str(ROOT / (module.replace(".", "/") + ".py"))
    return Source(path, ast.parse(Path(path).read_text()))


def run_all(work: list[tuple[str, Mutant | None]], sources: dict[str, Source], jobs: int):
    """Yields each piece of work with the exit code of its tests, as they end; None is a time-out."""
    context = multiprocessing.get_context("fork")
    waiting, running = list(enumerate(work))[::-1], []
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, (module, mutant) = waiting.pop()
                keywords = {"source": sources[module], "basetemp": f"{folder}/{number}"}
                child = context.Process(target=run_tests, args=(module, mutant), kwargs=keywords)
                child.start()
                running.append((child, module, mutant, time.monotonic()))
            time.sleep(0.01)
            for entry in list(running):
                child, module, mutant, started = entry
                if child.exitcode is None and time.monotonic() - started < _MAX_S:
                    continue
                code = child.exitcode
                child.kill()
                child.join()
                running.remove(entry)
                yield module, mutant, code


def load_libraries(modules: list[str]) -> None:
    """Imports what the tests import, and forgets our own modules: forked processes import these anew."""
    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        max_examples=25,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("mutants")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *{f for m in modules for f in _files(m)}])
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]


def _files(module: str) -> list[str]:
    return [str(UNIT / f"{name}.py") for name in TESTS[module]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE")
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each module [all]")
    parser.add_argument("--seed", type=int, default=0, help="another sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    args = parser.parse_args()
    os.chdir(ROOT)
    load_libraries(args.modules)
    sources = {module: read_source(module) for module in args.modules}
    for module, _, code in run_all([(module, None) for module in args.modules], sources, args.jobs):
        if code:
            print(f"{module}: its tests fail without any change")
            return 1

    work: list[tuple[str, Mutant | None]] = []
    for module in args.modules:
        mutants = [m for m in make_mutants(module, sources[module].tree) if _key(m) not in EQUIVALENT]
        if args.sample and args.sample < len(mutants):
            mutants = random.Random(f"{args.seed} {module}").sample(mutants, args.sample)
        work += [(module, mutant) for mutant in mutants]
    killed: Counter[str] = Counter()
    made = Counter(module for module, _ in work)
    for module, mutant, code in run_all(work, sources, args.jobs):
        if code == 0:
            print(mutant, flush=True)
        killed[module] += code != 0
    print()
    for module in args.modules:
        print(f"{module:40} {killed[module]:4} of {made[module]:4} noticed  {_percent(killed[module], made[module])}")
    print(f"{'all':40} {killed.total():4} of {made.total():4} noticed  {_percent(killed.total(), made.total())}")
    return 0 if killed == made else 1


def _key(mutant: Mutant) -> str:
    return f"{mutant.module.rpartition('.')[2]}: {mutant.change}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):5.1f} %"


if __name__ == "__main__":
    sys.exit(main())
