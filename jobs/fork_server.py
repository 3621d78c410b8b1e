"""A process that has imported what workers need and forks them: they start in no time, and imports are paid once a run.

`ForkServer` starts it, beside the process that runs steps. Where that is a program of ours with one thread, the server
is forked from it, and shares its memory with it and all workers (`begin_early`); else it is a process that imports for
itself, started at the first step that needs workers. Whoever wants a worker is a client: it sends an environment and
waits until the worker ends. For one that does tasks (`jobs.task_worker`) that is the process that runs steps; for one
that runs Beam's harness it is a process (`jobs/fork_client.py`), for Beam starts its workers by a command. The server
has one thread and never opens a channel of gRPC, so that what it forks is whole; where it has more threads (or this is
no Linux) it serves nobody, and a worker is a process that imports for itself.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Final, NamedTuple, NoReturn, Protocol

from jobs.fork_client import ask_for_worker
from jobs.interpreter import module_command, module_environment
from jobs.worker import HARNESS, NEEDED, PARENT, run_harness, set_up_logs, showing_warnings

_PACKAGES: Final = ("llvmlite", "numba", "pipeline", "vocab")  # whose modules, those in use, are imported for workers
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_LIFELINE: Final = 0  # standard input: a pipe that closes when the process that runs steps is gone, however it went
_PR_SET_PDEATHSIG: Final = 1  # of prctl(2)
_MAX_REQUEST_PART: Final = 1 << 20
_MAX_DESCRIPTORS: Final = 3  # standard output and error, and the channel of a worker that does tasks
_TAKEN: Final = b"taken "  # the answer to who asked for a worker, before that one's exit code


@contextmanager
def importing_in_one_thread() -> Iterator[None]:
    """Has libraries that are loaded in the block start no threads; what they inherit is put back."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Server(Protocol):
    """A process, as `subprocess` has it."""

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...


class _Fork:
    """A child that was forked."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        code = self._wait(0)
        assert code is not None
        return code

    def _wait(self, flags: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self._pid, flags)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


class ForkServer:
    """Starts the server when it is first asked for, and again when it is gone or imported under other conditions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Server | None = None
        self._lifeline = -1
        self._conditions: object = None
        self._name = ""
        self._loaded: set[str] = set()
        self._owns_process = False

    def own_process(self) -> None:
        """Says that this process does nothing but run one command of ours, and then ends: it may be forked."""
        self._owns_process = True

    def begin_early(self) -> None:
        """Forks the server from this process, where that can be; to be called when what workers need is imported."""
        if self._owns_process and self._process is None and _num_threads() == 1:
            with self._lock:
                self._start(self._fork)

    def worker_command(self, prepare: Callable[[], None] | None = None) -> str:
        """The shell's command that starts a worker and ends when it ends, with its exit code.

        Args:
            prepare: A function of a module that the server calls before it forks that worker; once, if it is given for
                several.
        """
        client = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(__file__), "fork_client.py")]
        alone = module_command("jobs.worker")
        serving = sys.platform == "linux"
        return deaf_command([*client, self._serving(prepare, HARNESS), *alone] if serving else alone)

    def fork_worker(self, channel: int, prepare: Callable[[], None] | None = None) -> "ForkedWorker | None":
        """Has a worker forked that does tasks; None where nobody serves.

        Args:
            channel: The descriptor of its end of the channel.
            prepare: See `worker_command`.
        """
        if sys.platform != "linux":
            return None
        name = self._serving(prepare)
        server = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            ask_for_worker(server, name, [1, 2, channel])
            if server.recv(len(_TAKEN)) == _TAKEN:
                return ForkedWorker(server)
        server.close()
        return None

    def end(self) -> None:
        """Ends the server, if it runs, and its workers."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is not None:
            self._process.wait()

    def _serving(self, prepare: Callable[[], None] | None, more: Sequence[str] = ()) -> str:
        """The name of the socket at which a server listens, or will in a moment, with more modules."""
        wanted = [*_modules_in_use(), *more] + ([f"{prepare.__module__}:{prepare.__qualname__}"] if prepare else [])
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._conditions != _conditions():
                self.end()
                self._start(self._execute)
            if new := [name for name in wanted if name not in self._loaded]:
                self._loaded.update(new)
                _send_names(self._name, new)
        return self._name

    def _start(self, how: Callable[[socket.socket, int], _Server]) -> None:
        self._name = f"wit400m-{secrets.token_hex(16)}"
        self._conditions, self._loaded = _conditions(), set(_modules_in_use())
        lifeline, self._lifeline = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(b"\0" + self._name.encode())
            listener.listen(128)
            self._process = how(listener, lifeline)
        os.close(lifeline)
        atexit.unregister(self.end)
        atexit.register(self.end)

    def _execute(self, listener: socket.socket, lifeline: int) -> _Server:
        words = [*module_command("jobs.fork_server"), str(listener.fileno()), *_modules_in_use()]
        return subprocess.Popen(
            ["/bin/sh", "-c", deaf_command(words)],
            stdin=lifeline,
            env=os.environ | _ONE_THREAD,
            pass_fds=[listener.fileno()],
        )

    def _fork(self, listener: socket.socket, lifeline: int) -> _Server:
        gc.freeze()  # pages that are shared stay so
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.close(self._lifeline)
            os.dup2(lifeline, _LIFELINE)
            _be_server(listener)
        return _Fork(pid)


class ForkedWorker:
    """A worker that a server forked, which tells how it ended."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server

    def wait(self) -> str:
        """Waits for its end; says how it ended."""
        with suppress(OSError), self._server:
            if code := self._server.recv(64):
                return how_ended(int(code))
        return "its server is gone"

    def stop(self) -> None:
        """Has it killed."""
        self._server.close()


SERVER: Final = ForkServer()  # of this process


def how_ended(code: int) -> str:
    """How a process ended, by its exit code as `subprocess` has it.

    >>> how_ended(1), how_ended(-9)
    ('exit code 1', 'killed by signal 9')
    """
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _conditions() -> object:
    return dict(os.environ), os.getcwd()


def _modules_in_use() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]


def _num_threads() -> int:
    """Of this process; none where that cannot be told."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else 0


def _send_names(server_name: str, names: Sequence[str]) -> None:
    """Has a server load modules, and call functions, before it forks for whoever asks later."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.connect(b"\0" + server_name.encode())
        server.sendall(json.dumps(names).encode())
        server.shutdown(socket.SHUT_WR)


class _Request(NamedTuple):
    environment: dict[str, str]
    outputs: Sequence[int]  # file descriptors, the channel among them


class _Worker(NamedTuple):
    pid: int
    client: socket.socket


def main() -> int:
    """Serves; in a worker, does its work."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    set_up_logs(_lifeline_is_cut)
    _load([*NEEDED, *sys.argv[2:]])
    if _num_threads() > 1:
        return 0
    gc.freeze()  # pages that are shared stay so
    return _serve_or_work(listener)


def _be_server(listener: socket.socket) -> NoReturn:
    """What a process that was forked from one that runs steps does to its end; nothing of that one's way out."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the process that started it to hear
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(_ONE_THREAD)
        set_up_logs(_lifeline_is_cut)
        _load(NEEDED)
        code = _serve_or_work(listener)
    except BaseException:
        if not _lifeline_is_cut():
            sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve_or_work(listener: socket.socket) -> int:
    """Serves to the end, or, in a worker that was forked, does its work; returns the exit code of either."""
    request = _serve(listener)
    if request is None:
        return 0
    channel = _become_worker(request)
    if channel is None:
        return run_harness(_lifeline_is_cut)
    from jobs.task_worker import do_tasks  # late: it loads Beam, which logs

    do_tasks(channel)


def _load(names: Sequence[str]) -> None:
    """Imports modules, and calls the functions that are given as MODULE:FUNCTION; their warnings are shown."""
    for name in names:
        module, _, function = name.partition(":")
        with suppress(ImportError), showing_warnings():  # whoever needs it will say so
            found = import_module(module)
            if function:
                getattr(found, function)()


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
            for worker in workers.values():
                os.waitpid(worker.pid, 0)
            return None
        for ended in ready & workers.keys():
            _report(workers.pop(ended))
            os.close(ended)
        if listener.fileno() not in ready:
            continue
        client = listener.accept()[0]
        request = _receive(client)
        if isinstance(request, list):
            client.close()
            _load(request)
            gc.freeze()
            if _num_threads() > 1:
                return None
            continue
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


def _receive(client: socket.socket) -> _Request | list[str] | None:
    """What a client asks for: a worker, or that names are loaded; None if it is not of this user, or gone."""
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.getuid():
        return None
    try:
        content, outputs, _, _ = socket.recv_fds(client, _MAX_REQUEST_PART, _MAX_DESCRIPTORS)
        while part := client.recv(_MAX_REQUEST_PART):
            content += part
        asked: dict[str, str] | list[str] = json.loads(content)
        if isinstance(asked, list):
            return asked
        client.sendall(_TAKEN)
    except (OSError, ValueError):
        return None
    return _Request(asked, outputs)


def _report(worker: _Worker) -> None:
    _, status = os.waitpid(worker.pid, 0)
    with suppress(OSError), worker.client:
        worker.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _become_worker(request: _Request) -> int | None:
    """Takes on what was asked for; returns the descriptor of the channel, if there is one."""
    os.environ.clear()
    os.environ.update(request.environment)
    for number, output in enumerate(request.outputs[:2], start=1):
        os.dup2(output, number)
        os.close(output)
    import numpy as np

    np.random.seed()  # noqa: NPY002  (whoever draws from it draws his own; Python's own is seeded after a fork)
    return next(iter(request.outputs[2:]), None)


def _lifeline_is_cut() -> bool:
    return bool(select.select([_LIFELINE], [], [], 0)[0])


def deaf_command(words: Sequence[str]) -> str:
    """A shell's command that does not hear a terminal's Ctrl-C, which is for the process that started it to hear."""
    path = shlex.quote(module_environment()["PYTHONPATH"])
    return f"trap '' INT; {PARENT}={os.getpid()} PYTHONPATH={path} exec {shlex.join(words)}"


if __name__ == "__main__":
    sys.exit(main())
