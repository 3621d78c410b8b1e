"""What README and docs promise: every command and stage is named, every file is in the tree, links lead somewhere."""

import importlib.util
import re
import tomllib

import pytest

from jobs.__main__ import COMMANDS
from jobs.run import configured_stages

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "docs/*.md")


def test_the_tree_in_the_docs_is_the_tree(checkout):
    spec = importlib.util.spec_from_file_location("make_tree", checkout / "docs" / "make_tree.py")
    make_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tree)
    assert make_tree.describe_tree(checkout) == (checkout / "docs" / "tree.md").read_text(), "run `make docs`"


def test_every_command_is_in_the_readme(checkout):
    text = (checkout / "README.md").read_text()
    assert not [name for name in COMMANDS if f"`{name}`" not in text and f"wit400m {name}" not in text]


def test_the_readme_is_read_in_a_minute(checkout):
    assert len((checkout / "README.md").read_text().splitlines()) <= 150


def test_the_configuration_in_the_readme_is_one(checkout):
    text = (checkout / "README.md").read_text()
    config = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    assert len(configured_stages(config, data="data")) == 6


@pytest.mark.parametrize("pattern", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_are_there(checkout, pattern):
    for document in checkout.glob(pattern):
        text = document.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, heading = target.partition("#")
            if "://" in target:
                continue
            linked = document.parent / path if path else document
            assert linked.exists(), f"{document.name}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
                assert heading in anchors, f"{document.name}: {target}"
