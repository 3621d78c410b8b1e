"""A web server on the loopback interface that answers as the web does, at its worst."""

import asyncio
import contextlib
import gzip
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import brotli
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.interpreter import HOME
from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.shard_format import SAMPLE_JSON_KEYS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from pipeline.fetching.raw import encode_sample
from pipeline.pixels.looks import describe_looks
from pipeline.sharding.stage import WriteShards

Handler = Callable[["Visit"], Awaitable[None]]


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def drawing(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A smooth picture that depends on its seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


class Visit:
    """One request, and the means to answer it."""

    def __init__(self, server: "Loopback", host: str, path: str, headers: dict[str, str], writer: asyncio.StreamWriter):
        self.server, self.host, self.path, self.headers, self.writer = server, host, path, headers, writer

    async def head(self, status: int = 200, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Status", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]
        await self.raw("\r\n".join(lines).encode())

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        await self.head(status, **({"Content_Length": str(len(body))} | headers))
        await self.raw(body)


class Loopback:
    """The server: every host that `connect_to` sends here, one handler a path, robots.txt by host.

    Attributes:
        seen: (host, path) of every request, in order.
        seen_at: When each was read, seconds.
        most_open: Most connections at once on which a host was asked, by host.
        agents: User agents seen.
        robots: robots.txt by host; a number is a status.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.seen_at: list[float] = []
        self.now_open: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.num_connections = 0
        self.robots: dict[str, str | int] = {}
        self.handlers: dict[str, Handler] = dict(HANDLERS)
        self.port = 0
        self.delay_s = 0.0

    @property
    def connect_to(self) -> tuple[str, ...]:
        return (f"*.example=127.0.0.1:{self.port}",)

    def visits(self, path: str) -> int:
        return sum(1 for _, seen in self.seen if seen == path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        hosts: set[str] = set()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer, hosts):
                pass
        self.now_open.subtract(hosts)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hosts: set[str]) -> bool:
        """Answers one request; whether the connection, on which these hosts were asked, is kept."""
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS client
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split(" ")[1]
        headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in head[1:] if line)}
        host = headers["host"].partition(":")[0]
        self.seen.append((host, path))
        self.seen_at.append(time.monotonic())
        if host not in hosts:
            hosts.add(host)
            self.now_open[host] += 1
            self.most_open[host] = max(self.most_open[host], self.now_open[host])
        self.agents.add(headers["user-agent"])
        visit = Visit(self, host, path, headers, writer)
        if path == "/robots.txt":
            robots = self.robots.get(host, 404)
            text = robots if isinstance(robots, str) else ""
            await visit.reply(text.encode(), status=robots if isinstance(robots, int) else 200)
            return True
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        handler = self.handlers.get(path.partition("?")[0])
        if handler is None and path.startswith("/image/"):
            handler = image
        kept = await (handler or not_found)(visit)
        return kept is not False and headers.get("connection") != "close"


async def not_found(visit: Visit):
    await visit.reply(b"no", 404)


async def image(visit: Visit):
    """/image/SEED.jpg, with everything from the query string as header lines."""
    seed = int(visit.path.partition("?")[0].rsplit("/", 1)[1].removesuffix(".jpg"))
    await visit.reply(encode(drawing(seed), "JPEG", quality=85), Content_Type="image/jpeg")


def answer(body: bytes, status: int = 200, **headers: str) -> Handler:
    async def handler(visit: Visit):
        await visit.reply(body, status, **headers)

    return handler


def redirect(location: str, status: int = 302) -> Handler:
    return answer(b"", status, Location=location)


async def endless(visit: Visit):
    await visit.head(Content_Type="image/jpeg", Connection="close")
    await visit.raw(JPEG)
    while True:
        await visit.raw(bytes(1 << 16))


async def one_byte_a_second(visit: Visit):
    await visit.head(Content_Length=str(len(JPEG)))
    for value in JPEG:
        await visit.raw(bytes([value]))
        await asyncio.sleep(0.2)


async def ten_gigabytes(visit: Visit):
    await visit.head(Content_Length=str(10**10))
    await visit.raw(JPEG)
    await asyncio.sleep(60)
    return False


async def stalls(visit: Visit):
    await visit.head(Content_Length=str(len(JPEG)))
    await visit.raw(JPEG[:100])
    await asyncio.sleep(60)
    return False


async def says_nothing(visit: Visit):
    await asyncio.sleep(60)
    return False


async def hangs_up(visit: Visit):
    return False


async def cuts_off(visit: Visit):
    await visit.head(Content_Length=str(len(JPEG)))
    await visit.raw(JPEG[:1000])
    return False


async def gibberish(visit: Visit):
    await visit.raw(b"\x00\x01 this is not HTTP\r\n\r\n")
    return False


async def throttles(visit: Visit):
    """Twice 429, then the image."""
    if visit.server.visits(visit.path) <= 2:
        await visit.reply(b"slow down", 429, Retry_After="1")
    else:
        await visit.reply(JPEG)


async def fails_once(visit: Visit):
    if visit.server.visits(visit.path) == 1:
        await visit.reply(b"oops", 500)
    else:
        await visit.reply(JPEG)


JPEG = encode(drawing(1), "JPEG", quality=90)
RAMP = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6

HANDLERS: dict[str, Handler] = {
    "/good.jpg": answer(JPEG, Content_Type="image/jpeg"),
    "/gone.jpg": answer(b"", 410),
    "/forbidden.jpg": answer(b"", 403),
    "/error.jpg": answer(b"", 500),
    "/fails-once.jpg": fails_once,
    "/throttles.jpg": throttles,
    "/busy.jpg": answer(b"", 503, Retry_After="9999"),
    "/loop.jpg": redirect("/loop.jpg"),
    "/to-good.jpg": redirect("http://other.example/good.jpg", 301),
    "/to-private.jpg": redirect("http://127.0.0.1/good.jpg"),
    "/to-private-name.jpg": redirect("http://localhost/good.jpg"),
    "/to-file.jpg": redirect("file:///etc/passwd"),
    "/to-credentials.jpg": redirect("http://me:secret@other.example/good.jpg"),
    "/to-nowhere.jpg": answer(b"", 302),
    "/endless.jpg": endless,
    "/drip.jpg": one_byte_a_second,
    "/huge.jpg": ten_gigabytes,
    "/stalls.jpg": stalls,
    "/silent.jpg": says_nothing,
    "/hangs-up.jpg": hangs_up,
    "/cut-off.jpg": cuts_off,
    "/gibberish.jpg": gibberish,
    "/gzip.jpg": answer(gzip.compress(JPEG), Content_Encoding="gzip"),
    "/deflate.jpg": answer(zlib.compress(JPEG), Content_Encoding="deflate"),
    "/br.jpg": answer(brotli.compress(JPEG), Content_Encoding="br"),
    "/zip-bomb.jpg": answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
    "/two-gzips.jpg": answer(gzip.compress(JPEG[:99]) + gzip.compress(JPEG[99:]) + b"tail", Content_Encoding="gzip"),
    "/no-gzip.jpg": answer(JPEG, Content_Encoding="gzip"),
    "/changed.jpg": answer(JPEG, 203),
    "/odd-encoding.jpg": answer(JPEG, Content_Encoding="rot13"),
    "/noai.jpg": answer(JPEG, X_Robots_Tag="noai, noimageai"),
    "/noindex.jpg": answer(JPEG, X_Robots_Tag="noindex"),
    "/other-noai.jpg": answer(JPEG, X_Robots_Tag="otherbot: noai"),
    "/dated.jpg": answer(JPEG, X_Robots_Tag="unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, noai"),
    "/expired.jpg": answer(JPEG, X_Robots_Tag="unavailable_after: Wed, 01 Jan 2025 15:00:00 PST"),
    "/usage.jpg": answer(JPEG, Content_Usage="train-ai=n"),
    "/signal.jpg": answer(JPEG, Content_Signal="search=yes, ai-train=no"),
    "/tdm-lines.jpg": answer(JPEG, tdm_reservation="0", TDM_Reservation="1"),
    "/to-long-label.jpg": redirect(f"http://{'a' * 64}.example/good.jpg"),
    "/tdm.jpg": answer(JPEG, tdm_reservation="1"),
    "/marked.jpg": answer(JPEG + b"<plus:DataMining>http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING<"),
    "/bomb.png": answer(encode(Image.new("1", (20_000, 20_000)), "PNG")),
    "/truncated.jpg": answer(JPEG[: len(JPEG) // 2]),
    "/sideways.jpg": answer(encode(drawing(2), "JPEG", exif=SIDEWAYS)),
    "/deep.png": answer(encode(Image.fromarray(RAMP), "PNG")),
    "/vector.svg": answer(b'<svg xmlns="http://www.w3.org/2000/svg"/>', Content_Type="image/svg+xml"),
    "/page.jpg": answer(b"<!doctype html><title>Not found</title>", Content_Type="text/html"),
    "/empty.jpg": answer(b""),
    "/dot.gif": answer(encode(Image.new("P", (1, 1)), "GIF")),
    "/banner.jpg": answer(encode(drawing(3, 900, 60), "JPEG")),
}  # fmt: skip


@pytest.fixture
def loopback():
    """A `Loopback` that runs in a thread until the test ends."""
    server = Loopback()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def run():
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=512)
        server.port = listener.sockets[0].getsockname()[1]
        ready.set()
        async with listener:
            await stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def finished_sample(number: int):
    """A row of a raw index, without its place, and the bytes of the sample."""
    url, text = f"http://h{number % 7}.example/{number}.jpg", f"picture {number % 50}"
    image = encode(drawing(number, 40, 30), "JPEG")
    identity, digest = pair_id(url, text), hashlib.sha256(image).digest()
    key = identity.hex()
    same = {"width": 40, "height": 30, "original_width": 40, "original_height": 30, "keep_probability": 1.0}
    same |= {"text_source": "alt", "source_file": "crawl.warc.gz", "page_url": f"http://pages.example/{number % 9}"}
    told = dict.fromkeys(SAMPLE_JSON_KEYS, "") | same
    told |= {"key": key, "uid": key, "url": url, "caption": text, "sha256": digest.hex(), "phash": f"{number:016x}"}
    told |= {"queries": ["picture"], "kept_for": ["picture"]}
    row = dict.fromkeys(RAW_INDEX.names) | same | {"pair_id": identity, "key": key, "status": "ok", "sha256": digest}
    row |= {"image_url": url, "text": text, "query_ids": [0], "kept_for": [0], "phash": number}
    with Image.open(io.BytesIO(image)) as opened:
        looks = describe_looks(np.array(opened.convert("RGB")))
    row |= {"mime": "image/jpeg", "bytes": len(image), "looks": looks}
    return row, encode_sample(key, image=image, mime="image/jpeg", text=text, provenance=told)


@pytest.fixture(scope="session")
def finished_set(tmp_path_factory) -> Path:
    """A folder with `raw`, `balanced` and `shards`: 60 samples in 6 shards. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("finished")
    rows, data = [], b""
    for row, members in sorted(map(finished_sample, range(60)), key=lambda made: made[0]["pair_id"]):
        rows.append(row | {"offset": len(data), "length": len(members)})
        data += members
    files.write_bytes_whole(str(folder / "raw" / "raw-00000.tar"), data)
    write_table(str(folder / "raw" / "raw-00000.index.parquet"), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    cuts = pa.table({"query_id": [0], "query": ["picture"], "count": [60], "cut": [None], "kept": [60]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    for name, stage, before in (("balanced", "balance-pairs", []), ("raw", "fetch-images", [str(folder / "balanced")])):
        close_folder(
            str(folder / name), identity={"stage": stage, "options": {}}, counts={}, outputs=[], made_from=before
        )
    stage = WriteShards(
        raw=(str(folder / "raw"),), balanced=str(folder / "balanced"), output=str(folder / "shards"), min_shards=6
    )
    run_stage(stage, workers=1, quiet=True)
    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port that nobody listens at."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


SERVICES = {
    "worker_pool": ["-m", "apache_beam.runners.worker.worker_pool_main", "--service_port"],
    "thread_pool": ["-c", """if True:
        import sys, time
        from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
        kept = BeamFnExternalWorkerPoolServicer.start(port=int(sys.argv[1]))
        time.sleep(1e6)
    """],
    "job_service": ["-m", "apache_beam.runners.portability.local_job_service_main", "--port"],
}  # fmt: skip


@pytest.fixture(scope="session")
def portable_environment() -> Callable[[Path], dict[str, str]]:
    """An environment with our packages and those of a folder; its `python`, which starts workers, is this one."""

    def make(code: Path) -> dict[str, str]:
        programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        return os.environ | {"PYTHONPATH": os.pathsep.join([HOME, str(code)]), "PATH": programs}

    return make


@pytest.fixture(scope="module")
def start_service(tmp_path_factory, free_port, portable_environment) -> Iterator[Callable[..., str]]:
    """Starts one of Beam's services, in a folder and a process of its own; gives its address."""
    started: list[subprocess.Popen] = []

    def start(name: str, code: Path, *flags: str) -> str:
        folder, port = tmp_path_factory.mktemp(name), free_port()
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, *SERVICES[name], str(port), *flags],
                cwd=folder,
                env=portable_environment(code),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                return f"localhost:{port}"
            time.sleep(0.1)

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)  # a pool's workers are in its group
        process.wait()
