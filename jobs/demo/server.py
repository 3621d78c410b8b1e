"""The server of the demo's web: it answers on loopback for every host of a world, faults included.

In: the `web` folder of a world. Out: a port, for as long as the context lasts. The hosts are told apart by the Host
header, so a client connects to 127.0.0.1:PORT for `*.example` and the URLs stay the same from run to run.
"""

import asyncio
import os
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

from aiohttp import web

from jobs.demo.world.web import MIME_TYPES, Answer, load_answers

SLOW_S = 6.0  # longer than the demo's time-out


class _Running(NamedTuple):
    """What the thread of the server tells the thread that started it."""

    port: int
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


@contextmanager
def serve_web(folder: str) -> Iterator[int]:
    """Serves a world's `web` folder in a thread of its own and yields the port."""
    started: Future[_Running] = Future()
    thread = threading.Thread(target=_run_server, args=(folder, started), name="demo-server", daemon=True)
    thread.start()
    running = started.result()
    try:
        yield running.port
    finally:
        running.loop.call_soon_threadsafe(running.stop.set)
        thread.join()


def _run_server(folder: str, started: "Future[_Running]") -> None:
    try:
        with (
            zipfile.ZipFile(os.path.join(folder, "bodies.zip")) as archive,
            open(os.path.join(folder, "answers.json"), "rb") as file,
        ):
            asyncio.run(_serve(_Web(archive, load_answers(file.read())), started))
    except OSError as error:
        if started.done():
            raise
        started.set_exception(error)


async def _serve(host: "_Web", started: "Future[_Running]") -> None:
    runner = web.AppRunner(host.make_app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stop = asyncio.Event()
    started.set_result(_Running(runner.addresses[0][1], asyncio.get_running_loop(), stop))
    await stop.wait()
    await runner.cleanup()


class _Web:
    """Answers requests from an archive of bodies and the exceptions to it."""

    def __init__(self, archive: zipfile.ZipFile, answers: dict[str, Answer]) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._answers = answers
        self._asked_hosts: set[str] = set()

    def make_app(self) -> web.Application:
        """Returns the application that hands every request to `answer`."""
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers one request as the world's answers say."""
        host = request.host.partition(":")[0]
        name = f"{host}{request.path}"
        if name not in self._names:
            return web.Response(status=404, text="not found")
        answer = self._answers.get(name, Answer())
        if answer.behaviour == "busy once" and host not in self._asked_hosts:
            self._asked_hosts.add(host)
            return web.Response(status=429, headers={"Retry-After": "1"})
        if answer.behaviour == "slow":
            await asyncio.sleep(SLOW_S)
        body = self._archive.read(answer.body or name)
        headers = {"Content-Type": answer.mime or MIME_TYPES[name.rpartition(".")[2]], **answer.headers}
        if answer.behaviour in ("cut", "hang up"):
            return await self._break_off(request, answer, body, headers)
        return web.Response(status=answer.status, body=body, headers=headers)

    async def _break_off(
        self, request: web.Request, answer: Answer, body: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Closes the connection before the answer is whole."""
        response = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body)), **headers})
        if answer.behaviour == "cut":
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
