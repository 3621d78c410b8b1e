"""The rooms of clip_train: each imports only those below it; a command has a file of its name."""

import ast

import pytest

# from the lowest to the highest; a module's room is the longest name that it begins with
ROOMS = (
    ("errors",),
    ("extras", "files", "config"),
    ("presets", "tokenizers", "data"),
    ("models",),
    ("training",),
    ("exchange",),
    ("use",),
    ("evaluate",),
    ("api",),
    ("commands",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def module_of(path, root):
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture(scope="module")
def imports(checkout):
    """Every module, and the modules of clip_train that it imports, wherever in its file."""
    root = checkout / "clip_train"
    paths = {f"clip_train.{module_of(path, root)}": path for path in root.rglob("*.py") if path.parent != root}
    paths |= {f"clip_train.{path.stem}": path for path in root.glob("*.py") if path.name != "__init__.py"}
    found = {}
    for module, path in paths.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[module] = names & paths.keys()
    return found


def test_a_room_imports_only_rooms_below_it(imports):
    for module, names in imports.items():
        room = module.split(".")[1]
        above = {name for name in names if name.split(".")[1] != room and LEVEL[name.split(".")[1]] >= LEVEL[room]}
        assert not above, f"{module} imports {sorted(above)}"


def test_every_command_has_a_file_of_its_name(imports):
    from clip_train.__main__ import COMMANDS

    files = {name.split()[-1].replace("-", "_") for name in COMMANDS} - {"import"} | {"import_"}
    shared = {"shared_options", "shard_folder"}
    assert {name.split(".")[2] for name in imports if name.startswith("clip_train.commands.")} == files | shared
