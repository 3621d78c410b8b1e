"""The contracts that are written once: stages by name, the files in their folders."""

import ast

import pytest

from jobs.__main__ import COMMANDS
from jobs.run import configured_stages
from jobs.runner import load_stage
from pipeline.base.flow import STAGES
from pipeline.base.options import options_of
from pipeline.base.schemas import OK_STATUS

PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
# What `pipeline.base.folders` calls the files that other stages look for, and what says that an image is there.
NAMES = ("cuts.parquet", "queries.parquet", ".index.parquet", "counts.npy", "rule.json", "queries.tsv", "damages.tsv",
         "report.html", OK_STATUS)  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_a_line_in_the_flow_is_a_class_of_that_name_and_a_command(name):
    assert load_stage(name).name == name
    assert name in COMMANDS


def test_every_stage_is_a_table_of_a_configuration_and_they_run_in_the_order_of_the_flow():
    tables = {
        "build-vocab": {"dump": ["a.xml"]},
        "import-vocab": {"input": ["a.txt"]},
        "extract-pairs": {"input": ["a.warc"]},
    }
    tables["fetch-images"] = {"contact": "me@lab.example"}
    config = {name: tables.get(name, {}) for name in reversed(STAGES)}
    assert [stage.name for stage in configured_stages(config, data="data")] == list(STAGES)


def test_no_two_stages_write_the_same_folder():
    outputs = [opt.spec.under_data for name in STAGES for opt in options_of(load_stage(name)) if opt.name == "output"]
    assert len(set(outputs)) == len(STAGES)
    assert all(outputs)


def test_names_of_files_between_stages_are_spelled_once(checkout):
    for package in PACKAGES:
        for path in (checkout / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            spelled = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            if path.name not in ("folders.py", "schemas.py"):
                assert not spelled & set(NAMES), path.name
