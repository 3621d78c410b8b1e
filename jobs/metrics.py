"""A page of metrics for Prometheus to read while a run lasts: ``http://HOST:PORT/metrics``."""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, NamedTuple

from jobs.prometheus import CONTENT_TYPE

DEFAULT_HOST: Final = "127.0.0.1"
_SILENCE_S: Final = 10.0  # after which a client is left


class Endpoint(NamedTuple):
    """Where the page is.

    Attributes:
        host: Name or address to listen at.
        port: Its port.
    """

    host: str
    port: int


@contextmanager
def serve_metrics(endpoint: Endpoint, text: Callable[[], str]) -> Iterator[None]:
    """Serves the page while the block runs.

    Args:
        endpoint: Where.
        text: The page, asked for anew each time; called in threads.

    Raises:
        ValueError: When one cannot listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(*endpoint, type=socket.SOCK_STREAM)[0]
        server = _server_of(family)((str(address[0]), endpoint.port), _handler_of(text))
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"metrics-port {endpoint.port}: cannot listen at {endpoint.host}: {reason}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server_of(family: int) -> type[socketserver.ThreadingTCPServer]:
    class Server(socketserver.ThreadingTCPServer):
        address_family = family
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is no news; what else goes wrong is told."""
            if not isinstance(sys.exception(), ConnectionError | TimeoutError):
                super().handle_error(request, client_address)

    return Server


def _handler_of(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE_S
        server_version, sys_version = "wit400m", ""

        def do_GET(self) -> None:
            """Answers a request."""
            is_there = self.path.partition("?")[0] == "/metrics"
            body = (text() if is_there else "The metrics are at /metrics\n").encode()
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Type", CONTENT_TYPE if is_there else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Nothing: standard error is for the run."""

    return Handler
