"""A process that has imported what workers need and forks them: they start in no time, and imports are paid once a run.

`ForkServer` starts it at the first step that needs workers, beside the process that runs steps. Whoever wants a worker
is a client (`jobs/fork_client.py`): it sends an environment and waits until the worker ends. The server has one thread
and never opens a channel of gRPC, so that what it forks is whole; where it has more threads (or this is no Linux) it
serves nobody, and a client becomes a worker that imports for itself.
"""

import atexit
import ctypes
import gc
import json
import os
import secrets
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final, NamedTuple

from jobs.interpreter import module_command, module_environment
from jobs.worker import PARENT, import_harness, run_harness

_PACKAGES: Final = ("numba", "pipeline", "vocab")  # whose modules are imported for workers, those that are in use
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_LIFELINE: Final = 0  # standard input: a pipe that closes when the process that runs steps is gone, however it went
_PR_SET_PDEATHSIG: Final = 1  # of prctl(2)
_MAX_REQUEST_PART: Final = 1 << 20


class ForkServer:
    """Starts the server when it is first asked for, and again when it is gone or imported under other conditions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._conditions: object = None
        self._name = ""

    def worker_command(self) -> str:
        """The shell's command that starts a worker and ends when it ends, with its exit code."""
        client = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(__file__), "fork_client.py")]
        alone = module_command("jobs.worker")
        return _deaf([*client, self._serving(), *alone] if sys.platform == "linux" else alone)

    def end(self) -> None:
        """Ends the server, if it runs, and its workers."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _serving(self) -> str:
        """The name of the socket at which a server listens, or will in a moment."""
        with self._lock:
            conditions = (dict(os.environ), os.getcwd())
            if self._process is None or self._process.poll() is not None or self._conditions != conditions:
                self.end()
                self._start()
                self._conditions = conditions
        return self._name

    def _start(self) -> None:
        self._name = f"wit400m-{secrets.token_hex(16)}"
        modules = [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(b"\0" + self._name.encode())
            listener.listen(128)
            words = [*module_command("jobs.fork_server"), str(listener.fileno()), *modules]
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _deaf(words)],
                stdin=subprocess.PIPE,
                env=os.environ | _ONE_THREAD,
                pass_fds=[listener.fileno()],
            )
        atexit.unregister(self.end)
        atexit.register(self.end)


class _Request(NamedTuple):
    environment: dict[str, str]
    outputs: Sequence[int]  # file descriptors


class _Worker(NamedTuple):
    pid: int
    client: socket.socket


def main() -> int:
    """Serves; in a worker, runs Beam's harness."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    import_harness(_lifeline_is_cut)
    for module in sys.argv[2:]:
        with suppress(ImportError):  # whoever needs it will say so
            import_module(module)
    if len(os.listdir("/proc/self/task")) > 1:
        return 0
    gc.freeze()  # pages that are shared stay so
    request = _serve(listener)
    if request is None:
        return 0
    _become_worker(request)
    return run_harness(_lifeline_is_cut)


def _serve(listener: socket.socket) -> _Request | None:
    """Forks a worker for each request, until nobody is left to serve; returns the request in each worker."""
    server = os.getpid()
    workers: dict[int, _Worker] = {}  # by a descriptor that is ready when the process has ended
    while True:
        ready = _wait([_LIFELINE, listener.fileno(), *workers], [worker.client.fileno() for worker in workers.values()])
        for worker in workers.values():
            if _LIFELINE in ready or worker.client.fileno() in ready:
                os.kill(worker.pid, signal.SIGKILL)
        if _LIFELINE in ready:
            return None
        for ended in ready & workers.keys():
            _report(workers.pop(ended))
            os.close(ended)
        if listener.fileno() not in ready:
            continue
        client = listener.accept()[0]
        request = _receive(client)
        if request is None:
            client.close()
            continue
        pid = os.fork()
        if not pid:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for connection in (listener, client, *(worker.client for worker in workers.values())):
                connection.close()
            return request if os.getppid() == server else None
        for output in request.outputs:
            os.close(output)
        workers[os.pidfd_open(pid)] = _Worker(pid, client)


def _wait(inputs: Sequence[int], clients: Sequence[int]) -> set[int]:
    """The inputs that can be read or have ended, and the clients that are gone."""
    poll = select.poll()
    for descriptor in inputs:
        poll.register(descriptor, select.POLLIN)
    for descriptor in clients:
        poll.register(descriptor, 0)
    return {descriptor for descriptor, _ in poll.poll()}


def _receive(client: socket.socket) -> _Request | None:
    """What a client asks for; None if it is not of this user, or gone."""
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.getuid():
        return None
    try:
        content, outputs, _, _ = socket.recv_fds(client, _MAX_REQUEST_PART, 2)
        while part := client.recv(_MAX_REQUEST_PART):
            content += part
        environment = json.loads(content)
        client.sendall(b"taken ")
    except (OSError, ValueError):
        return None
    return _Request(environment, outputs)


def _report(worker: _Worker) -> None:
    _, status = os.waitpid(worker.pid, 0)
    with suppress(OSError), worker.client:
        worker.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _become_worker(request: _Request) -> None:
    os.environ.clear()
    os.environ.update(request.environment)
    for number, output in enumerate(request.outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    import numpy as np

    np.random.seed()  # noqa: NPY002  (whoever draws from it draws his own; Python's own is seeded after a fork)


def _lifeline_is_cut() -> bool:
    return bool(select.select([_LIFELINE], [], [], 0)[0])


def _deaf(words: Sequence[str]) -> str:
    """A shell's command that does not hear a terminal's Ctrl-C, which is for the process that started it to hear."""
    path = shlex.quote(module_environment()["PYTHONPATH"])
    return f"trap '' INT; {PARENT}={os.getpid()} PYTHONPATH={path} exec {shlex.join(words)}"


if __name__ == "__main__":
    sys.exit(main())
