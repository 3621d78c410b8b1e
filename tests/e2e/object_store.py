"""An object store for tests, as a program: moto's S3 server behind a proxy that counts requests and spoils some.

It prints its port, serves on loopback, and ends when its standard input does, or after `LIFE_S`. What a test asks of it
goes to paths below /_store, as JSON:

    POST /_store/stage    name of what runs now; requests are recorded under it
    POST /_store/faults   {"seed": 1, "rate": 0.1, "kinds": [...], "only": "", "most": 2}; a rate of 0 ends it
    POST /_store/log      gives the requests since the last time, a dict each, and forgets them

`kinds` are of `FAULTS`; `only` is a regular expression for "METHOD KEY?QUERY". Which request is spoilt is a hash of
the seed, of what is asked, and of how often that was asked: it does not depend on time or order. Nothing is spoilt more
than `most` times in a row, so a client that tries again succeeds.
"""

import asyncio
import hashlib
import logging
import os
import re
import sys
import threading
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, unquote

import aiohttp
from aiohttp import web
from moto.server import ThreadedMotoServer

LIFE_S = 1800
SLOW_S = 0.3
FAULTS = {  # which methods each may befall
    "403": {"GET", "HEAD", "PUT", "POST", "DELETE"},
    "500": {"GET", "HEAD", "PUT", "POST", "DELETE"},
    "503": {"GET", "HEAD", "PUT", "POST", "DELETE"},
    "slow": {"GET", "HEAD", "PUT", "POST", "DELETE"},
    "cut answer": {"GET"},  # the connection closes in the middle of the body
    "cut upload": {"PUT"},  # it closes before the store has seen the end
    "lost answer": {"PUT"},  # the store took it, and the client does not know
}
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect", "content-length"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'
_ERRORS = {
    "403": ("AccessDenied", "Access Denied"),
    "500": ("InternalError", "We encountered an internal error. Please try again."),
    "503": ("SlowDown", "Please reduce your request rate."),
}


class Store:
    """The proxy: what it has seen, and what it spoils."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._stage = ""
        self._faults: dict[str, Any] = {"seed": 0, "rate": 0.0, "kinds": [], "only": "", "most": 0}
        self._log: list[dict[str, Any]] = []
        self._asked: Counter[str] = Counter()
        self._spoilt: Counter[str] = Counter()

    def make_app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/_store/{command}", self.command)
        app.router.add_route("*", "/{path:.*}", self.pass_on)
        app.cleanup_ctx.append(self._open_session)
        return app

    async def _open_session(self, app: web.Application):
        async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as self._session:
            yield

    async def command(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if request.match_info["command"] == "stage":
            self._stage = asked
        elif request.match_info["command"] == "faults":
            self._faults, self._asked, self._spoilt = asked, Counter(), Counter()
        else:
            log, self._log = self._log, []
            return web.json_response(log)
        return web.json_response(None)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        record = describe(request) | {"stage": self._stage, "sent": 0, "received": 0, "status": 0}
        record["fault"] = fault = self._choose_fault(record)
        self._log.append(record)
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        if fault in _ERRORS:
            record["received"] = len(await request.read())
            text = _ERROR.format(*_ERRORS[fault])
            return web.Response(status=int(fault), text=text, content_type="application/xml")
        if fault == "cut upload":
            record["received"] = len(await request.content.readany())
            return hang_up(request)
        body = await request.read()
        record["received"] = len(body)
        status, headers, content = await self._ask_backend(request, body)
        record["status"] = status
        if fault == "lost answer":
            return hang_up(request)
        answer = web.StreamResponse(status=status, headers=headers)
        if request.method != "HEAD":
            answer.content_length = len(content)
        await answer.prepare(request)
        part = content[: len(content) // 2] if fault == "cut answer" else content
        record["sent"] = len(part)
        await answer.write(part)
        if fault == "cut answer":
            hang_up(request)
        return answer

    async def _ask_backend(self, request: web.Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS]
        url = self._backend + request.raw_path
        kept = {"Accept-Encoding", "Accept", "User-Agent", "Content-Type"}
        asked = self._session.request(
            request.method, aiohttp.client.URL(url, encoded=True), headers=headers, data=body, skip_auto_headers=kept
        )
        async with asked as answer:
            dropped = _HOP_HEADERS - ({"content-length"} if request.method == "HEAD" else set())
            kept_headers = [(n, v) for n, v in answer.headers.items() if n.lower() not in dropped]
            return answer.status, kept_headers, await answer.read()

    def _choose_fault(self, record: dict[str, Any]) -> str:
        """What is done to a request, "" for nothing."""
        asked = " ".join(record[name] for name in ("method", "bucket", "key", "query", "range"))
        text = f"{self._faults['seed']} {self._asked[asked]} {asked}"
        self._asked[asked] += 1
        kinds = [kind for kind in self._faults["kinds"] if record["method"] in FAULTS[kind]]
        lot = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        spared = (
            not kinds
            or lot >= self._faults["rate"] * 2**64
            or self._spoilt[asked] >= self._faults["most"]
            or not re.search(self._faults["only"], f"{record['method']} {record['key']}?{record['query']}")
        )
        self._spoilt[asked] = 0 if spared else self._spoilt[asked] + 1
        return "" if spared else kinds[lot % len(kinds)]


def describe(request: web.Request) -> dict[str, Any]:
    """What is asked: `call` is its name among S3's, in short."""
    bucket, _, key = unquote(request.raw_path.partition("?")[0])[1:].partition("/")
    query = parse_qs(request.query_string, keep_blank_values=True)
    name = next((name for name in ("uploads", "uploadId", "delete", "list-type") if name in query), "")
    calls = {"uploads": "multipart", "uploadId": "multipart", "delete": "delete", "list-type": "list"}
    return {
        "call": calls.get(name, request.method.lower()),
        "method": request.method,
        "bucket": bucket,
        "key": key or query.get("prefix", [""])[0],
        "query": request.query_string,
        "range": request.headers.get("Range", ""),
    }


def hang_up(request: web.Request) -> web.Response:
    """Closes the connection at once."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def serve(backend: str) -> None:
    """Serves until standard input ends."""
    runner = web.AppRunner(Store(backend).make_app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_for_parent() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    try:
        await asyncio.wait_for(ended.wait(), LIFE_S)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    try:
        asyncio.run(serve(f"http://{host}:{port}"))
    except TimeoutError:
        print("the object store's time is over", file=sys.stderr)
    sys.stdout.flush()
    os._exit(0)  # moto's thread may be in a request that nobody waits for
