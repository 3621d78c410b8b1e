"""Asks a fork server for a worker and ends as that does: ``fork_client.py SOCKET COMMAND...``.

It sends its environment, its standard output and its standard error. Where nothing answers it becomes COMMAND. It is
run as a file, and by Python without site packages, so that it starts in 20 ms: only the standard library, none of ours.
"""

import json
import os
import socket
import sys


def main() -> int:
    """Waits for the worker; returns its exit code, or dies of its signal."""
    _, name, *command = sys.argv
    answer = ask(name)
    if not answer:
        os.execv(command[0], command)
    _, _, code = answer.partition(b" ")
    number = int(code or 1)  # without a code the server is gone, and its workers with it
    if number < 0:
        os.kill(os.getpid(), -number)
    return abs(number)


def ask(name: str) -> bytes:
    """Has a worker forked and waits for its end.

    Args:
        name: Of the server's socket, abstract.

    Returns:
        ``taken CODE``, or ``taken`` and a space when the server ended before; nothing when it serves nobody.
    """
    answer = b""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            ask_for_worker(server, name, [1, 2])
            while part := server.recv(64):
                answer += part
        except OSError:
            pass
    return answer


def ask_for_worker(server: socket.socket, name: str, descriptors: list[int]) -> None:
    """Asks for a worker with the environment of this process.

    Args:
        server: Not connected yet.
        name: Of the server's socket, abstract.
        descriptors: For its standard output, its standard error and, where it is to do tasks, its channel.
    """
    server.connect(b"\0" + name.encode())
    content = json.dumps(dict(os.environ)).encode()
    sent = socket.send_fds(server, [content], descriptors)
    server.sendall(content[sent:])
    server.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())
