"""The README names every file of the packages, with the first line of its docstring, and every command."""

import ast
import tomllib
from pathlib import Path

from jobs.__main__ import COMMANDS
from jobs.run import configured_stages

PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")


def describe_tree(root: Path) -> str:
    """One line a file: its path and the first line of its docstring; `__init__` stands for its folder."""
    lines = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py"), key=lambda p: (p.parent, p.name != "__init__.py", p.name)):
            said = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
            name = path.relative_to(root).as_posix().removesuffix("__init__.py")
            lines.append(f"{name:<41}{said}".rstrip())
    return "\n".join(lines)


def test_the_tree_in_the_readme_is_the_tree(checkout):
    tree = describe_tree(checkout)
    assert tree in (checkout / "README.md").read_text(), f"README.md should say:\n{tree}"


def test_every_command_is_in_the_readme(checkout):
    text = (checkout / "README.md").read_text()
    assert not [name for name in COMMANDS if name not in text]


def test_the_configuration_in_the_readme_is_one(checkout):
    text = (checkout / "README.md").read_text()
    config = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    assert len(configured_stages(config, data="data")) == 6
