"""The servers of the benchmark as processes, their certificate, and a network of its own for the one with names."""

import json
import os
import pickle
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "FETCH_BENCH_INSIDE"  # set in a network of our own
NAME_SERVER = "127.0.0.53"


class Server(NamedTuple):
    """A running server: its process, and what it said of itself."""

    process: int
    ports: dict[str, int]

    def at(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"


@contextmanager
def started(*command: str) -> Iterator[tuple[int, str]]:
    """A server of this folder: its process, and the first line it prints."""
    words = [sys.executable, os.path.join(HERE, command[0]), *command[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} did not start")
            yield process.pid, line
        finally:
            process.terminate()


@contextmanager
def image_server(folder: str, pictures: list[bytes], *flags: str) -> Iterator[Server]:
    """`image_server.py`, with these pictures."""
    path = os.path.join(folder, "pictures.pickle")
    with open(path, "wb") as file:
        pickle.dump(pictures, file)
    with started("image_server.py", path, *flags) as (process, line):
        yield Server(process, json.loads(line))


def make_certificates(folder: str, hosts: Sequence[str]) -> tuple[str, str]:
    """An authority and a certificate of it for all hosts, by the command openssl.

    Returns:
        PEM of the certificate and its key, and a file of what the system trusts and our authority: a program that reads
        it for every connection pays what it pays on the web.
    """
    authority, leaf = os.path.join(folder, "authority.pem"), os.path.join(folder, "leaf.pem")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    new = ["openssl", "req", "-x509", *key, "-keyout"]
    run_quietly(*new, f"{authority}.key", "-out", authority, "-subj", "/CN=Authority of a benchmark")
    names = "subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts)
    signed = ["-CA", authority, "-CAkey", f"{authority}.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    run_quietly(*new, f"{leaf}.key", "-out", leaf, "-subj", "/CN=hosts of a benchmark", "-addext", names, *signed)
    with open(leaf, "a") as file:
        file.write(read(f"{leaf}.key"))
    trusted = os.path.join(folder, "trusted.pem")
    system = ssl.get_default_verify_paths().cafile
    with open(trusted, "w") as file:
        file.write((read(system) if system else "") + read(authority))
    return leaf, trusted


def run_quietly(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def enter_own_network() -> None:
    """Starts this program anew in a network and a mount namespace of its own; returns in the new one.

    Raises:
        SystemExit: Where the machine does not allow it.
    """
    if os.environ.get(INSIDE):
        run_quietly("ip", "link", "set", "lo", "up")
        return
    words = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if not (shutil.which("unshare") and shutil.which("ip")) or subprocess.run([*words, "true"]).returncode:
        raise SystemExit("this needs a network of its own: the commands unshare and ip, and the right to use them")
    os.execvpe(words[0], [*words, sys.executable, *sys.argv], os.environ | {INSIDE: "1"})


@contextmanager
def name_server(folder: str, *command: str) -> Iterator[int]:
    """A server, by default `names.py`, as the resolver of this mount namespace; resolv.conf has nothing else."""
    path = os.path.join(folder, "resolv.conf")
    with open(path, "w") as file:
        file.write(f"nameserver {NAME_SERVER}\n")
    place = os.path.realpath("/etc/resolv.conf")
    run_quietly("mount", "--bind", path, place)
    try:
        with started(*(command or ("names.py", NAME_SERVER))) as (process, _):
            yield process
    finally:
        run_quietly("umount", place)
