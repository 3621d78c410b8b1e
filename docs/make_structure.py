"""Draws the rooms of the packages and who imports whom into docs/images/structure.svg, and prints figures of it.

    python docs/make_structure.py [ROOT]

A room is a package at the top, or a folder of `pipeline` or `vocab`. An arrow is an import from one room to another.
With ROOT, another checkout is measured and nothing is drawn.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).resolve().parent
PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
WITHOUT_BEAM = ("vocab", "pipeline.base", "pipeline.web", "pipeline.dumps", "clip_train")


def find_modules(root: Path) -> dict[str, Path]:
    """All modules by dotted name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    names = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return dict(zip((name.removesuffix(".__init__") for name in names), paths, strict=True))


def imported_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names that import statements name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str, modules: dict[str, Path]) -> str:
    """The room of a module: a file at the top of `pipeline` is in the room `pipeline`, but for its steps."""
    parts = module.split(".")
    is_folder = ".".join(parts[:2]) in modules and modules[".".join(parts[:2])].name == "__init__.py"
    return (
        ".".join(parts[:2]) if parts[0] in ("pipeline", "vocab") and (is_folder or parts[1:] == ["steps"]) else parts[0]
    )


def count_arrows(modules: dict[str, Path]) -> Counter[tuple[str, str]]:
    """Imports from room to room."""
    arrows: Counter[tuple[str, str]] = Counter()
    for module, path in modules.items():
        found = {name for name in imported_names(ast.walk(ast.parse(path.read_text()))) if name in modules}
        found -= {name for name in found if any(other.startswith(name + ".") for other in found)}
        for name in found:
            rooms = (room_of(module, modules), room_of(name, modules))
            arrows[rooms] += rooms[0] != rooms[1]
    return +arrows


def load_beam(modules: dict[str, Path]) -> set[str]:
    """The modules that load Beam, themselves or through others."""
    found: set[str] = set()
    tops = {module: set(imported_names(ast.parse(path.read_text()).body)) for module, path in modules.items()}
    for module in modules:
        parts = module.split(".")
        tops[module] |= {".".join(parts[:end]) for end in range(1, len(parts))}
    while True:
        more = {m for m, names in tops.items() if names & found or any(n.split(".")[0] == "apache_beam" for n in names)}
        if more == found:
            return found
        found = more


def draw(arrows: Counter[tuple[str, str]], lines: Counter[str], path: Path) -> None:
    """One box a room, what is imported below what imports."""
    graph: dict[str, set[str]] = {room: set() for arrow in arrows for room in arrow}
    for above, below in arrows:
        graph[above].add(below)
    floors: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        floors[room] = 1 + max((floors[below] for below in graph[room]), default=-1)
    figure = Figure((11, 6.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 11), ylim=(-0.2, max(floors.values()) + 1.1))
    axes.axis("off")
    places = {}
    for floor in sorted(set(floors.values())):
        rooms = sorted(room for room in floors if floors[room] == floor)
        places |= {room: (11 * (place + 0.5) / len(rooms), floor + 0.4) for place, room in enumerate(rooms)}
    for (above, below), number in arrows.items():
        (x0, y0), (x1, y1) = places[above], places[below]
        axes.plot(
            [x0, x1], [y0 - 0.2, y1 + 0.2], color="#5b7fa6", alpha=0.45, linewidth=0.4 + number**0.5 / 2.5, zorder=1
        )
    for room, (x, y) in places.items():
        box = FancyBboxPatch(
            (x - 0.72, y - 0.2), 1.44, 0.4, boxstyle="round,pad=0.03", fc="#fdf6e8", ec="#8a6d3b", zorder=2
        )
        axes.add_patch(box)
        axes.text(x, y + 0.06, room.removeprefix("pipeline."), ha="center", va="center", fontsize=9.5, zorder=3)
        axes.text(x, y - 0.1, f"{lines[room]:,} lines", ha="center", va="center", fontsize=7, color="#777", zorder=3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures a checkout; draws this one."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent
    modules = find_modules(root)
    arrows, lines = count_arrows(modules), Counter[str]()
    for module, path in modules.items():
        lines[room_of(module, modules)] += len(path.read_text().splitlines())
    beam = load_beam(modules)
    print(f"modules {len(modules)}, lines {lines.total():,}, rooms {len(lines)}")
    print(f"arrows between rooms {len(arrows)}, imports along them {arrows.total()}")
    low = [name for name in beam if name.startswith(WITHOUT_BEAM)]
    print(f"modules that load Beam {len(beam)}, of them below the stages or in the trainer {len(low)}")
    if root == HERE.parent:
        draw(arrows, lines, HERE / "images" / "structure.svg")


if __name__ == "__main__":
    main()
