"""What starting a command loads, and what it leaves as it was."""

import importlib
import subprocess
import sys

import pytest

from jobs.__main__ import leaving_out

START = """
import os, sys
from jobs.__main__ import main
before = dict(os.environ)
try:
    main(["fetch-images", "--help"])
except SystemExit:
    pass
loaded = {"bson", "boto3", "google.cloud", "numba", "pandas"} & set(sys.modules)
threads = os.listdir("/proc/self/task") if sys.platform == "linux" else ["one"]
if loaded or len(threads) > 1 or dict(os.environ) != before:
    sys.exit(f"{loaded}, {len(threads)} threads")
"""


def test_a_command_starts_in_one_thread_and_without_what_a_run_here_never_uses():
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_left_out_can_be_imported_later(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with leaving_out(("colorsys", "json")):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("colorsys")
        importlib.import_module("json")  # was loaded before
    assert importlib.import_module("colorsys") and importlib.import_module("json")
