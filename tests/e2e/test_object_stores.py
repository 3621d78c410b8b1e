"""Data on an object store: the bytes of a disk, however often the store fails, and no more requests than are needed."""

import json
import os
import platform
import subprocess
import sys
import threading
import urllib.request
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from gcp_storage_emulator.server import create_server

from jobs.__main__ import main
from jobs.demo.world import folder as world_folder
from jobs.demo.world.folder import DUMP_NAME, WARC_NAME, WorldSize, write_world
from jobs.demo.world.web import MIME_TYPES, Page, write_warc
from pipeline.base import files
from pipeline.base.holding import FolderInUse, hold_folder

BUCKET = "s3://bucket"
FOLDERS = {
    "build-vocab": "vocab",
    "extract-pairs": "pairs",
    "match-pairs": "matched",
    "balance-pairs": "balanced",
    "fetch-images": "raw",
    "balance-final": "final",
    "write-shards": "shards",
}
ERRORS, CUTS = ["500", "503", "slow"], ["cut answer", "cut upload", "lost answer"]
IMAGES_NAME = "images.warc.gz"
LEASE_NAME = "_lease.json"
NUM_CRAWLS = 3
UNIT_BYTES = 5000

# Requests that a stage may make: so many, and so many more for each unit and for each shard. Measured on two flows, one
# with about twice as many units, plus some 3 %.
MOST_REQUESTS = {
    "build-vocab": (155, 57, 0),
    "extract-pairs": (55, 40, 0),
    "match-pairs": (58, 17, 0),
    "balance-pairs": (135, 43, 0),
    "fetch-images": (160, 27, 0),
    "balance-final": (105, 30, 0),
    "write-shards": (90, 20, 34),
}
# How often a stage may read, in bytes, the objects that it reads.
MOST_READ = {
    "build-vocab": 4.8,
    "extract-pairs": 2.7,
    "match-pairs": 2.4,
    "balance-pairs": 3.0,
    "fetch-images": 2.8,
    "balance-final": 3.1,  # each index is asked for its columns, too, and is as small as its footer here
    "write-shards": 2.1,
}


class ObjectStore:
    """The program object_store.py, and what a test asks of it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def ask(self, command: str, content=None):
        headers = {"Content-Type": "application/json"}
        data = json.dumps(content).encode()
        request = urllib.request.Request(f"{self.endpoint}/_store/{command}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    @contextmanager
    def failing(self, kinds, *, rate=1.0, seed=0, only="", most=2):
        """Spoils requests while the block runs, and none that come later."""
        self.ask("faults", {"seed": seed, "rate": rate, "kinds": kinds, "only": only, "most": most})
        try:
            yield
        finally:
            self.ask("faults", {"seed": 0, "rate": 0.0, "kinds": [], "only": "", "most": 0})

    def requests(self):
        """Those since the last time this was asked."""
        return self.ask("log")


@cache
def own_system(protocol):
    """A client of the test's own: it keeps no listings, and nothing that a test does to the program's reaches it."""
    return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)


def digests(url: str):
    """The digest of every file below a folder, by its path in it."""
    if files.is_local(url):
        names = [str(path.relative_to(url)) for path in Path(url).rglob("*") if path.is_file()]
        return {name: sha256(Path(url, name).read_bytes()).hexdigest() for name in names}
    system = own_system(url.partition("://")[0])
    inner = system._strip_protocol(url)
    return {name.removeprefix(f"{inner}/"): sha256(system.cat_file(name)).hexdigest() for name in system.find(inner)}


def new_process():
    """Makes s3:// in this process what it is in a new one: settings are read again, and there is no open connection."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def store():
    """A store with an empty bucket, and the environment in which s3:// leads there."""
    program = str(Path(__file__).with_name("object_store.py"))
    process = subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    started = ObjectStore(int(process.stdout.readline()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", started.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        new_process()
        own_system("s3").mkdir("bucket")
        yield started
    new_process()
    own_system.cache_clear()
    process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def google_store():
    """A store that speaks Google's protocol, and the environment in which gs:// leads there; nothing of it fails."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks Google what kind of bucket this is
        yield
    server.stop()
    own_system.cache_clear()


def split_warc(data: bytes, parts: int):
    """The content of a WARC that is compressed record by record, as several."""
    records = []
    while data:
        member = zlib.decompressobj(wbits=31)
        member.decompress(data)
        records.append(data[: len(data) - len(member.unused_data)])
        data = member.unused_data
    return [b"".join(records[part::parts]) for part in range(parts)]


@pytest.fixture(scope="module")
def world(tmp_path_factory, store):
    """The folder of a small world, and a copy of it in the store: a dump, crawls in 3 and 6 files, images in a WARC."""
    folder = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(world_folder.SIZES, "tiny", WorldSize(120, 90, num_per_class=1, num_captions=2))
        write_world(str(folder / "world"), "tiny")
    crawl = (folder / "world" / WARC_NAME).read_bytes()
    inputs = {DUMP_NAME: (folder / "world" / DUMP_NAME).read_bytes()}
    inputs |= {f"crawl/{number}.warc.gz": content for number, content in enumerate(split_warc(crawl, NUM_CRAWLS))}
    with zipfile.ZipFile(folder / "world" / "web" / "bodies.zip") as bodies, open(folder / IMAGES_NAME, "wb") as file:
        names = [name for name in bodies.namelist() if name.rpartition(".")[2] in MIME_TYPES]
        mimes = [MIME_TYPES[name.rpartition(".")[2]] for name in names]
        pages = [Page(f"http://{n}", bodies.read(n), mime=mime) for n, mime in zip(names, mimes, strict=True)]
        write_warc(file, pages)
    inputs[IMAGES_NAME] = (folder / IMAGES_NAME).read_bytes()
    for name, content in inputs.items():
        for base in (str(folder), BUCKET):
            files.write_bytes_whole(f"{base}/world/{name}", content)
    return str(folder)


def describe_flow(base: str, data: str):
    """The options of every stage, with all data below one folder or bucket; units are small."""
    return {
        "build-vocab": {"dump": [f"{base}/world/{DUMP_NAME}"], "wordnet": "none", "unit-bytes": UNIT_BYTES},
        "extract-pairs": {"input": [f"{base}/world/crawl/?.warc.gz"]},
        "match-pairs": {},
        "balance-pairs": {"cap": 20},
        "fetch-images": {"from-archive": [f"{base}/world/{IMAGES_NAME}"], "unit-urls": 40},
        "balance-final": {},
        "write-shards": {"final": f"{base}/{data}/final", "max-samples": 30},
    }


def write_config(path: Path, base: str, data: str, tables) -> str:
    lines = [f'data = "{base}/{data}"']
    for name, options in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
    path.write_text("\n".join(lines))
    return str(path)


def run(config: str, *flags: str) -> int:
    return main(["run", config, "--workers", "1", "--quiet", *flags])


@pytest.fixture(scope="module")
def on_disk(world, tmp_path_factory):
    """The digests of what the flow makes on a disk."""
    config = tmp_path_factory.mktemp("config") / "flow.toml"
    assert run(write_config(config, world, "data", describe_flow(world, "data"))) == 0
    return digests(f"{world}/data")


@pytest.fixture(scope="module")
def requests(store, world, tmp_path_factory):
    """Runs the flow on the store, stage by stage, each as a new process would; the requests of each."""
    found, folder = {}, tmp_path_factory.mktemp("stages")
    for stage, options in describe_flow(BUCKET, "data").items():
        new_process()
        config = write_config(folder / f"{stage}.toml", BUCKET, "data", {stage: options})
        store.requests()
        assert run(config) == 0, stage
        found[stage] = store.requests()
    return found


def only(made, *stages: str):
    """Those of some digests that belong to some stages."""
    return {name: digest for name, digest in made.items() if name.partition("/")[0] in map(FOLDERS.get, stages)}


def test_a_store_holds_the_bytes_of_a_disk(requests, on_disk):
    assert len(on_disk) > 50
    assert digests(f"{BUCKET}/data") == on_disk


def count_units(stage, world, on_disk):
    """The units of a stage, and of write-shards its shards besides."""
    raw, shards = (sum(n.startswith(f"{f}/") and n.endswith(".tar") for n in on_disk) for f in ("raw", "shards"))
    if stage == "build-vocab":
        return -(-os.path.getsize(f"{world}/world/{DUMP_NAME}") // UNIT_BYTES), 0
    if stage in ("fetch-images", "balance-final", "write-shards"):
        return raw, shards if stage == "write-shards" else 0
    return NUM_CRAWLS, 0


@pytest.mark.parametrize("stage", FOLDERS)
def test_a_stage_makes_few_requests(stage, requests, world, on_disk):
    """A lease is renewed as time goes by: its requests do not count."""
    made = [request for request in requests[stage] if not request["key"].rstrip("/").endswith(LEASE_NAME)]
    units, shards = count_units(stage, world, on_disk)
    fixed, per_unit, per_shard = MOST_REQUESTS[stage]
    assert len(made) <= fixed + per_unit * units + per_shard * shards, Counter(request["call"] for request in made)


@pytest.mark.parametrize("stage", FOLDERS)
def test_a_stage_reads_what_it_reads_few_times(stage, requests, world, on_disk):
    """Of an archive each fetch unit may read ahead a MiB beyond the last of its records."""
    sizes = {
        request["key"]: request["received"] for log in requests.values() for request in log if request["call"] == "put"
    }
    sizes |= {
        name.removeprefix("bucket/"): size for name, size in own_system("s3").du("bucket/world", total=False).items()
    }
    got = [request for request in requests[stage] if request["call"] == "get"]
    read = sum(request["sent"] for request in got)
    most = MOST_READ[stage] * sum(sizes[key] for key in {request["key"] for request in got})
    if stage == "fetch-images":
        most += count_units(stage, world, on_disk)[0] * min(1 << 20, sizes[f"world/{IMAGES_NAME}"])
    assert read <= most, (read, most, sizes.get(f"world/{IMAGES_NAME}"))


@pytest.mark.parametrize(("kinds", "seed"), [(ERRORS, 1), (CUTS, 2)], ids=["errors", "cuts"])
def test_a_new_process_and_faults_of_the_store_change_no_byte(store, world, on_disk, checkout, tmp_path, kinds, seed):
    data = f"faulty-{seed}"
    config = write_config(tmp_path / "flow.toml", BUCKET, data, describe_flow(BUCKET, data))
    store.requests()
    with store.failing(kinds, rate=0.03, seed=seed):
        command = [sys.executable, "-m", "jobs", "run", config, "--workers", "1", "--quiet"]
        subprocess.run(command, cwd=checkout, check=True, timeout=900)
    assert {request["fault"] for request in store.requests()} == {"", *kinds}
    assert digests(f"{BUCKET}/{data}") == on_disk


def test_processes_see_at_once_what_others_wrote(store, world, on_disk, checkout, tmp_path):
    tables = {"extract-pairs": describe_flow(BUCKET, "two")["extract-pairs"]}
    config = write_config(tmp_path / "flow.toml", BUCKET, "two", tables)
    command = [sys.executable, "-m", "jobs", "run", config, "--workers", "2", "--quiet"]
    subprocess.run(command, cwd=checkout, check=True, timeout=600)
    assert digests(f"{BUCKET}/two") == only(on_disk, "extract-pairs")


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def alter_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut_in_half, alter_a_byte])
def test_a_run_that_goes_on_makes_a_damaged_object_anew_and_no_other(store, world, on_disk, tmp_path, damage):
    data = damage.__name__
    config = write_config(
        tmp_path / "flow.toml", BUCKET, data, {"extract-pairs": describe_flow(BUCKET, data)["extract-pairs"]}
    )
    with store.failing(["403"], only=rf"PUT {data}/pairs/_stage\.json", most=1000):
        assert run(config) == 1
    tables = own_system("s3").glob(f"bucket/{data}/pairs/*.parquet")
    assert len(tables) == NUM_CRAWLS
    own_system("s3").pipe_file(tables[1], damage(own_system("s3").cat_file(tables[1])))
    store.requests()
    assert run(config) == 0
    assert digests(f"{BUCKET}/{data}") == only(on_disk, "extract-pairs")
    written = {f"bucket/{request['key']}" for request in store.requests() if request["call"] == "put"}
    assert written & set(tables) == {tables[1]}


@pytest.fixture
def impatient(monkeypatch):
    """Clients that do not try again often."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    new_process()
    yield
    new_process()


SIZES = [pytest.param(1000, id="one request"), pytest.param(70 << 20, id="in parts")]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_whose_writing_fails_leaves_no_object(store, size):
    store.requests()
    with pytest.raises(KeyError), files.write_whole(f"{BUCKET}/unwritten/a.bin") as file:
        file.write(bytes(size))
        raise KeyError
    assert not [request for request in store.requests() if request["call"] not in ("head", "list")]


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_that_is_cut_leaves_no_object_and_says_which(store, impatient, size):
    path = f"{BUCKET}/cut/{size}.bin"
    with (
        store.failing(["cut upload"], only=rf"{size}\.bin\?(.*partNumber=2.*)?$", most=1000),
        pytest.raises(OSError, match=path),
        files.write_whole(path) as file,
    ):
        file.write(bytes(size))
    assert not files.exists(path)
    left = own_system("s3").call_s3("list_multipart_uploads", Bucket="bucket")
    assert not left.get("Uploads")


@pytest.mark.parametrize("kind", ["403", "500"])
def test_an_error_of_the_store_names_the_object(store, requests, impatient, tmp_path, capfd, kind):
    data = f"named-{kind}"
    options = {"vocab": f"{BUCKET}/data/vocab", "pairs": f"{BUCKET}/data/pairs"}
    config = write_config(tmp_path / "flow.toml", BUCKET, data, {"match-pairs": options})
    with store.failing([kind], only=r"GET data/pairs/1\.warc.*\.parquet", most=1000):
        assert run(config) == 1
    assert f"{BUCKET}/data/pairs/1.warc" in capfd.readouterr().err


def test_a_second_run_in_a_folder_of_a_store_is_refused(store, requests, tmp_path, capfd):
    options = {"vocab": f"{BUCKET}/data/vocab", "pairs": f"{BUCKET}/data/pairs"}
    config = write_config(tmp_path / "flow.toml", BUCKET, "held", {"match-pairs": options})
    with hold_folder(f"{BUCKET}/held/matched"):
        assert run(config) == 2
        assert "s3://bucket/held/matched: another run" in capfd.readouterr().err
    assert run(config) == 0


def test_of_runs_that_begin_together_one_gets_the_folder_of_a_store(store):
    at_once, done, lock = threading.Barrier(6), threading.Barrier(6), threading.Lock()
    ended = []

    def begin():
        at_once.wait(60)
        try:
            with hold_folder(f"{BUCKET}/together"):
                done.wait(60)
                result = "held"
        except FolderInUse:
            done.wait(60)
            result = "refused"
        with lock:
            ended.append(result)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(ended) == ["held"] + ["refused"] * 5


@pytest.mark.parametrize("kind", ["lost answer", "503"])
def test_a_lease_is_had_though_the_answer_was_lost(store, kind):
    store.requests()
    with store.failing([kind], only=rf"PUT lost/{LEASE_NAME}"), hold_folder(f"{BUCKET}/lost") as hold:
        hold.check()
        with pytest.raises(FolderInUse), hold_folder(f"{BUCKET}/lost"):
            raise AssertionError("held twice")
    assert kind in {request["fault"] for request in store.requests()}
    assert not files.exists(f"{BUCKET}/lost/{LEASE_NAME}")


HOLDER = """
import sys, time
from pipeline.base import holding
holding._LEASE_S = float(sys.argv[2])
with holding.hold_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def dead_holder(path, checkout, *, lease_s):
    """A run that was killed while it held a folder."""
    command = [sys.executable, "-c", HOLDER, path, str(lease_s)]
    process = subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
    yield


def test_the_folder_of_a_run_that_died_is_held_until_its_lease_ends(store, checkout):
    path = f"{BUCKET}/died"
    with (
        dead_holder(path, checkout, lease_s=3600),
        pytest.raises(FolderInUse, match="should that run be dead, the folder is free in"),
        hold_folder(path),
    ):
        raise AssertionError("a run took a folder that another may be working in")
    with dead_holder(f"{path}-2", checkout, lease_s=0), hold_folder(f"{path}-2") as hold:
        hold.check()
        assert files.read_json(f"{path}-2/{LEASE_NAME}")["owner"] == f"process {os.getpid()} on {platform.node()}"


def behave(base: str):
    """What the functions of `pipeline.base.files` say on a file system; paths are those below the base."""

    def inner(paths):
        return [path.replace(":///", "://").removeprefix(f"{base}/") for path in paths]  # memory:// has both

    names = ["a/one.bin", "a/two.txt", "a/_working.json", "a/.hidden", "a/deep/three.bin", "b/plus+sign.json"]
    names += ["b/with space.txt", "b/ä ö.txt", "b/percent%20.txt", "b/a=1&b=2.txt", "c/_work/x.bin", "c/kept.bin"]
    for name in names:
        files.write_bytes_whole(f"{base}/{name}", name.encode() * 100)
    files.write_bytes_whole(f"{base}/a/empty.bin", b"")
    files.write_bytes_whole(f"{base}/a/two.txt", b"written over")
    files.write_bytes_whole(f"{base}/large.bin", bytes(range(256)) * 12_000)
    said = [
        [files.read_bytes(f"{base}/{name}") for name in [*names, "a/empty.bin"]],
        [inner(files.list_files(f"{base}/{folder}", suffix)) for folder in "abcd" for suffix in ("", ".bin")],
        [files.list_sizes(f"{base}/{folder}") for folder in "abcd"],
        files.list_sizes(f"{base}/a/one.bin"),
        inner(sorted(files.sizes(f"{base}/{name}" for name in [*names, "a/nothing", "d/nothing"]))),
        [files.exists(f"{base}/{name}") for name in ("a", "a/one.bin", "a/one", "d", "d/nothing")],
        [files.is_folder(f"{base}/{name}") for name in ("a", "a/one.bin", "a/one", "d")],
        [files.file_size(f"{base}/{name}") for name in ("a/one.bin", "a/empty.bin", "large.bin")],
        [files.read_range(f"{base}/large.bin", start, size) for start, size in ((0, 5), (300, 7), (3_071_995, 9))],
        [files.file_stamp(f"{base}/{name}") for name in ("large.bin", "a/one.bin", "a/empty.bin")],
        [files.file_digest(f"{base}/{name}") for name in ("large.bin", "a/empty.bin")],
        inner(files.expand_inputs([f"{base}/a", f"{base}/large.bin"])),
        inner(files.expand_inputs([base])),
        inner(files.expand_inputs([f"{base}/b/*.json", f"{base}/?/o*.bin"])),
        Path(files.local_path(f"{base}/a/one.bin")).read_bytes(),
    ]
    for name in ("a/nothing", "d/nothing"):
        for function in (files.read_bytes, files.file_size, files.file_digest, files.file_stamp):
            with pytest.raises(FileNotFoundError, match=f"{base}/{name}"):
                function(f"{base}/{name}")
        with pytest.raises(FileNotFoundError, match=f"{base}/{name}"):
            files.expand_inputs([f"{base}/{name}"])
    files.remove_working_folders(f"{base}/c")
    files.remove_tree(f"{base}/a")
    files.remove_tree(f"{base}/d")
    return [*said, sorted(digests(base))]


@pytest.mark.parametrize("base", [f"{BUCKET}/behaviour", "gs://bucket/behaviour", "memory://bucket/behaviour"])
def test_a_store_behaves_as_a_disk_does(base, store, google_store, tmp_path):
    assert behave(base) == behave(str(tmp_path / "disk"))


@pytest.mark.parametrize("base", [f"{BUCKET}/once", "gs://bucket/once"])
def test_an_object_that_is_named_twice_is_one_input(base, store, google_store):
    files.write_bytes_whole(f"{base}/a.warc", b"a")
    assert files.expand_inputs([f"{base}/*.warc", f"{base}/a.warc", base]) == [f"{base}/a.warc"]


def test_a_folder_of_a_google_store_is_held_by_one(google_store):
    """The server made for tests knows no conditional writes, so this is the lease of runs that begin apart."""
    with hold_folder("gs://bucket/held") as hold:
        hold.check()
        with pytest.raises(FolderInUse, match="another run"), hold_folder("gs://bucket/held"):
            raise AssertionError("held twice")
    assert not files.exists("gs://bucket/held/_lease.json")
