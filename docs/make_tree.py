"""Writes docs/tree.md: every file of the packages in a line, the first of its docstring.

python docs/make_tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")


def describe_tree(root: Path) -> str:
    """The page: a line a file, its path and what it says of itself; `__init__` stands for its folder."""
    lines = ["# The tree", "", "Written by `make docs`; a test says when a line is missing.", "", "```"]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py"), key=lambda p: (p.parent, p.name != "__init__.py", p.name)):
            said = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
            name = path.relative_to(root).as_posix().removesuffix("__init__.py")
            lines.append(f"{name:<45}{said}".rstrip())
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    (ROOT / "docs" / "tree.md").write_text(describe_tree(ROOT))
