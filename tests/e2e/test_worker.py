"""A worker whose parent was killed: it ends of its own accord, though nothing answers where it should report."""

import os
import select
import socket
import subprocess
import sys

import pytest

from jobs.interpreter import module_command, module_environment
from jobs.worker import PARENT

_PATIENCE_S = 60  # Beam's harness alone waits longer
_START = f"import os, sys, subprocess as s; s.Popen(sys.argv[2:], env=os.environ | {{{PARENT!r}: str(os.getpid())}})"
_WAIT = "; sys.argv[1] and sys.stdin.read()"


@pytest.mark.parametrize("begins", [False, True], ids=["at once", "when the worker has begun"])
def test_a_worker_whose_parent_is_killed_ends(begins):
    with socket.create_server(("127.0.0.1", 0)) as service:
        address = f'url: "localhost:{service.getsockname()[1]}"'
        names = ("CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR")
        environment = module_environment() | dict.fromkeys(names, address)
        ends, of_worker = os.pipe()
        parent = subprocess.Popen(
            [sys.executable, "-c", _START + _WAIT, "wait" * begins, *module_command("jobs.worker")],
            env=environment | {"WORKER_ID": "w", "PIPELINE_OPTIONS": "{}"},
            stdin=subprocess.PIPE,
            stderr=of_worker,
        )
        os.close(of_worker)
        if begins:
            service.accept()[0].close()
            parent.kill()
        parent.communicate(timeout=_PATIENCE_S)
        with open(ends, "rb") as last_words:
            assert select.select([last_words], [], [], _PATIENCE_S)[0]
            assert last_words.read() == b""
