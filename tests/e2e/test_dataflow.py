"""What Dataflow would be sent: the whole request of every job of every stage, made without an account or a network.

Each stage runs as for Dataflow, its files in a bucket that lies in memory; a step's request is built and staged into a
local folder, and then the step runs on Beam's local engine, so that the next one finds what it needs. These tests need
the extras gcp and s3: `make gcp`.
"""

import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import jobs.runner
from jobs.__main__ import main
from jobs.dataflow import kebab
from jobs.demo.server import serve_web
from jobs.demo.world.folder import DUMP_NAME, WARC_NAME, write_world
from jobs.engines import Engine, run_step
from jobs.lead import LeadFailed, lead
from jobs.lead import main as lead_main
from pipeline.base import files
from pipeline.base.flow import STAGES
from pipeline.base.receipts import StepReceipts
from pipeline.base.shard_format import SCORES_NAME
from pipeline.base.tables import read_column, write_table
from pipeline.steps import MapUnits, Step

if importlib.util.find_spec("apitools") is None or importlib.util.find_spec("gcsfs") is None:
    pytest.skip("needs the extras gcp and s3: make gcp", allow_module_level=True)

LIST = "gs://bucket/list.parquet"
PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
REQUIREMENTS = "docs/dataflow/requirements.txt"
MOST_BYTES = 10_000_000  # of a request: https://cloud.google.com/dataflow/quotas
CLOUD = ("--runner=DataflowRunner", "--project=project", "--region=europe-west1", "--temp_location=gs://bucket/tmp")
# And no list of what is installed here, which takes pip seconds a job.
OFFLINE = ("--no_auth", "--dry_run=True", "--experiments=disable_logging_submission_environment")


class Bucket(MemoryFileSystem):
    """gs:// in memory."""

    protocol = "gs"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("gs://", "memory://", 1))


class Request(NamedTuple):
    """A job as Dataflow would be asked for it.

    Attributes:
        stage: Whose it is.
        step: Label of the step, or of those that are one job.
        steps: Labels of the steps.
        job: The request.
        pipeline: The pipeline that is staged beside it.
        staged: Folder of what is staged.
    """

    stage: str
    step: str
    steps: list[str]
    job: dict[str, Any]
    pipeline: Any
    staged: Path

    @property
    def labels(self) -> list[str]:
        """The full names of the transforms."""
        return [transform.unique_name for transform in self.pipeline.components.transforms.values()]


def build_request(step: Step, engine: Engine, receipts: StepReceipts, *, stage: str, staged: Path) -> Request:
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    pipeline = engine.pipeline(step)
    _ = pipeline | step.label >> step.bind(receipts)
    job = pipeline.run().job
    staged.mkdir(parents=True)
    job.google_cloud_options.staging_location = str(staged)
    DataflowApplicationClient(job.options, str(staged)).create_job_description(job)
    [proto] = staged.glob("*.pb")
    labels = [part.label for part, _ in getattr(step.transform, "steps", ((step, None),))]
    return Request(
        stage,
        step.label,
        labels,
        json.loads(job.json()),
        beam_runner_api_pb2.Pipeline.FromString(proto.read_bytes()),
        staged,
    )


@pytest.fixture(scope="module")
def offline():
    """No look for a machine of Google's, and a bucket in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("GOOGLE_CLOUD_PROJECT", "project")
        real = fsspec.get_filesystem_class("gs")
        fsspec.register_implementation("gs", Bucket, clobber=True)
        yield patch
        fsspec.register_implementation("gs", real, clobber=True)
        Bucket.store.clear()


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dataflow` builds, of a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, folder)
    for name in PACKAGES:
        shutil.copytree(checkout / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    flags = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", "wheels")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", *flags, "."], cwd=folder, check=True)
    [built] = (folder / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def delivery(checkout: Path, wheel: Path) -> tuple[str, ...]:
    """The flags by which `make dataflow` brings the project to workers."""
    requirements = f"--requirements_file={checkout / REQUIREMENTS}"
    return (f"--extra_package={wheel}", requirements, "--requirements_cache=skip")


@pytest.fixture(scope="module")
def made(offline, delivery, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    """The requests of every stage, in order; every step that a stage can have is in one of them."""
    found: list[Request] = []
    folder = tmp_path_factory.mktemp("staged")

    def build_then_run(step: Step, engine: Engine, receipts: StepReceipts) -> None:
        staged = folder / f"{len(found):03d}"
        found.append(build_request(step, engine, receipts, stage=engine.stage, staged=staged))
        run_step(step, Engine(workers=1), receipts)

    offline.setattr(jobs.runner, "run_step", build_then_run)
    world = tmp_path_factory.mktemp("world")
    write_world(str(world), "small")
    for path in world.rglob("*"):
        if path.is_file() and "web" not in path.relative_to(world).parts:
            files.write_bytes_whole(f"gs://bucket/world/{path.relative_to(world)}", path.read_bytes())
    files.write_bytes_whole("gs://bucket/own.txt", b"zebra\n")
    image = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(image, "PNG")
    files.write_bytes_whole("gs://bucket/evaluation/blank.png", image.getvalue())
    with serve_web(str(world / "web")) as port:
        for stage, flags in runs(port):
            command = [stage, "--data=gs://bucket/data", "--quiet", *flags, *CLOUD, *OFFLINE, *delivery]
            assert main(command) == 0, stage
            if stage == "write-shards":
                assert main(["export-urls", "gs://bucket/data/shards", "--output", LIST]) == 0
            if stage == "fetch-images":
                write_scores("gs://bucket/data/raw", "gs://bucket/scores", score=(0.5, pa.float32()))
                boxes = ([[0.25, 0.25, 0.75, 0.75, 0.5]], pa.list_(pa.list_(pa.float32())))
                write_scores("gs://bucket/data/raw", "gs://bucket/boxes", faces=(1.0, pa.float32()), boxes=boxes)
    return found


def runs(port: int) -> list[tuple[str, list[str]]]:
    """Commands by which every step of every stage has something to do."""
    data, world = "gs://bucket/data", "gs://bucket/world"
    web = [
        "--contact",
        "me@lab.example",
        "--connect-to",
        f"*.example=127.0.0.1:{port}",
        "--host-rate",
        "0",
        "--retries",
        "1",
        "--timeout-s",
        "2",
    ]
    views = ["--pageviews", f"{world}/wiki/pageviews-20250101-000000.gz"]
    return [
        ("build-vocab", ["--dump", f"{world}/{DUMP_NAME}", *views, "--wordnet", "none", "--unit-bytes", "5000"]),
        ("import-vocab", ["--input", "gs://bucket/own.txt", "--merge", f"{data}/vocab"]),
        ("extract-pairs", ["--input", f"{world}/{WARC_NAME}", "--max-text-repeats", "9", "--near-duplicates", "0.9"]),
        ("match-pairs", []),
        ("balance-pairs", ["--output", f"{data}/aimed", "--target-pairs", "20"]),
        ("balance-pairs", ["--output", f"{data}/images", "--by", "image", "--image-texts", "matched"]),
        ("balance-pairs", ["--cap", "20", "--yield", "0.9"]),
        (
            "balance-pairs",
            ["--output", f"{data}/more", "--cap", "20", "--yield", "0.9", "--previous", f"{data}/balanced"],
        ),
        ("fetch-images", [*web, "--output", f"{data}/archived", "--from-archive", f"{world}/{WARC_NAME}"]),
        ("fetch-images", web),
        ("balance-final", []),
        ("top-up-pairs", []),
        ("write-shards", ["--final", f"{data}/final", "--scores", "gs://bucket/scores", "--min-score", "0"]),
        (
            "write-shards",
            [
                *("--output", f"{data}/careful", "--decontaminate", "blank=gs://bucket/evaluation"),
                *("--blur-faces", "gs://bucket/boxes"),
            ],
        ),
        ("subset", ["--where", "width > 0"]),
        ("fetch-images", [*web, "--output", f"{data}/listed", "--from-list", LIST]),
    ]


def write_scores(raw: str, folder: str, **columns: tuple[Any, pa.DataType]) -> None:
    """The same values for every image of a folder of raw tars, as `clip_train score` and `flag` lay them down."""
    keys = [key for index in files.list_files(raw, ".parquet") for key in read_column(index, "key").to_pylist()]
    schema = pa.schema([("key", pa.string()), *((name, kind) for name, (_, kind) in columns.items())])
    values = {"key": keys, **{name: [value] * len(keys) for name, (value, _) in columns.items()}}
    write_table(files.join(folder, "part.parquet"), pa.table(values, schema), schema)
    files.write_json(files.join(folder, SCORES_NAME), {"rows": {"part": len(keys)}})


def labels_in_the_code(checkout: Path) -> set[str]:
    """The labels of steps that stages name in so many words, and how those begin that have a number or a name added."""
    found: set[str] = set()
    for path in (checkout / "pipeline").rglob("*.py"):
        if path.name not in ("steps.py", "slicing.py"):
            found |= set(re.findall(r'\bStep\(\s*f?"(\w+)', path.read_text()))
    return found


def test_every_step_of_every_stage_has_a_request(made, checkout):
    assert {request.stage for request in made} == set(STAGES)
    steps = {step for request in made for step in request.steps}
    missing = {label for label in labels_in_the_code(checkout) if not any(step.startswith(label) for step in steps)}
    assert len(labels_in_the_code(checkout)) > 20
    assert not missing


def test_a_request_is_a_batch_job_of_the_steps_transforms(made):
    for request in made:
        assert request.job["type"] == "JOB_TYPE_BATCH"
        assert request.job["environment"]["version"]["job_type"] == "FNAPI_BATCH"
        for step in request.steps:
            inner = step if step == request.step else f"{request.step}/{step}"
            assert any(label.startswith(f"{inner}/") for label in request.labels), (step, request.labels)


def test_jobs_are_named_and_labelled_by_stage_and_step(made):
    for request in made:
        name, labels = request.job["name"], request.job["labels"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
        assert name.startswith(f"wit400m-{request.stage}-")
        assert labels["wit400m-stage"] == request.stage
        assert labels["wit400m-step"] == kebab(request.step)[:63]
        assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", value) for value in labels.values())
    assert max(Counter(request.job["name"] for request in made).values()) == 1


def test_a_job_name_that_is_given_stands_before_the_steps(offline):
    flags = (*CLOUD, *OFFLINE, "--job_name=spring-crawl", "--labels=team=data")
    options = Engine(workers=1, beam_flags=flags, stage="match-pairs").pipeline(empty_step("MatchQueries"))._options
    given = options.get_all_options()
    assert given["job_name"].startswith("spring-crawl-match-queries-")
    assert given["labels"] == ["team=data", "wit400m-stage=match-pairs", "wit400m-step=match-queries"]
    again = Engine(workers=1, beam_flags=flags, stage="match-pairs").pipeline(empty_step("MatchQueries"))._options
    assert again.get_all_options()["job_name"] != given["job_name"]


def test_workers_run_python_of_this_version_with_beams_image(made):
    for request in made:
        [pool] = request.job["environment"]["workerPools"]
        for image in pool["sdkHarnessContainerImages"]:
            assert re.search(rf"beam_python3\.{sys.version_info[1]}_sdk:\d", image["containerImage"])
            assert "beam:version:sdk_base:go" not in image["capabilities"]
            assert any("sdk_base" in name for name in image["capabilities"])


def test_workers_get_the_wheel_and_the_requirements_and_nothing_of_main(made, wheel):
    for request in made:
        [pool] = request.job["environment"]["workerPools"]
        assert {package["name"] for package in pool["packages"]} == {
            *("requirements.txt", "extra_packages.txt", wheel.name)
        }
        assert (request.staged / "extra_packages.txt").read_text().split() == [wheel.name]
        assert (request.staged / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_wheel_of_the_workers_has_every_module_and_template(wheel, checkout):
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=checkout, check=True, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= held
    assert any(name.endswith(".j2") for name in held) and "pipeline/py.typed" in held


def test_the_requirements_of_workers_bring_all_that_the_wheel_and_its_paths_need(checkout, wheel):
    """A worker installs the wheel without extras: what gs:// and s3:// need must be among the requirements."""
    pinned = [Requirement(line) for line in (checkout / REQUIREMENTS).read_text().splitlines()]
    versions = {canonicalize_name(line.name): str(line.specifier) for line in pinned}
    metadata = (
        zipfile.ZipFile(wheel).read(f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info/METADATA").decode()
    )
    needed = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)]
    for line in needed:
        if any(line.marker is None or line.marker.evaluate({"extra": extra}) for extra in ("", "gcp", "s3")):
            assert line.specifier.contains(versions[canonicalize_name(line.name)].removeprefix("=="))
    assert {"gcsfs", "s3fs"} <= versions.keys()
    assert all(version.startswith("==") for version in versions.values())
    assert not {"torch", "pytest"} & versions.keys()


def test_the_requirements_of_workers_are_those_of_the_lock(checkout):
    locked = {line.partition(" ;")[0] for line in (checkout / "requirements.lock").read_text().splitlines()}
    assert set((checkout / REQUIREMENTS).read_text().splitlines()) <= locked


def empty_step(label: str, ram_gib: float = 0.0) -> Step:
    return Step(label, MapUnits(units=["gs://bucket/a"], output_of=str, work=no_work), ram_gib)


def no_work(unit: str, output: str) -> dict[str, int]:
    return {}


def test_a_step_that_needs_memory_says_so(offline, delivery, tmp_path):
    engine = Engine(workers=1, beam_flags=(*CLOUD, *OFFLINE, *delivery), stage="balance-pairs")
    receipts = StepReceipts(str(tmp_path), "FindKnown")
    hints = {}
    for ram_gib in (0.0, 12.0):
        request = build_request(
            empty_step("FindKnown", ram_gib), engine, receipts, stage="balance-pairs", staged=tmp_path / str(ram_gib)
        )
        environments = request.pipeline.components.environments.values()
        hints[ram_gib] = {dict(one.resource_hints).get("beam:resources:min_ram_bytes:v1") for one in environments}
    assert hints[0.0] == {None}
    assert b"12884901888" in hints[12.0]


def test_an_image_of_ones_own_is_what_workers_run(offline, tmp_path):
    flags = (*CLOUD, *OFFLINE, "--sdk_container_image=europe-docker.pkg.dev/p/r/wit400m:1", "--sdk_location=container")
    receipts = StepReceipts(str(tmp_path), "MatchQueries")
    engine = Engine(workers=1, beam_flags=flags, stage="match-pairs")
    request = build_request(empty_step("MatchQueries"), engine, receipts, stage="match-pairs", staged=tmp_path / "a")
    [pool] = request.job["environment"]["workerPools"]
    assert [i["containerImage"] for i in pool["sdkHarnessContainerImages"]] == ["europe-docker.pkg.dev/p/r/wit400m:1"]
    assert not pool.get("packages")


def test_forty_thousand_units_fit_into_a_request(offline, delivery, tmp_path):
    units = [f"gs://bucket/data/pairs/part-{number:05d}.parquet" for number in range(40_000)]
    step = Step("MatchQueries", MapUnits(units=units, output_of=str, work=no_work))
    engine = Engine(workers=1, beam_flags=(*CLOUD, *OFFLINE, *delivery), stage="match-pairs")
    receipts = StepReceipts("gs://bucket/data/matched", "MatchQueries")
    request = build_request(step, engine, receipts, stage="match-pairs", staged=tmp_path / "staged")
    [proto] = request.staged.glob("*.pb")
    assert len(json.dumps(request.job)) + proto.stat().st_size < MOST_BYTES / 10


def test_requests_of_the_stages_are_small(made):
    for request in made:
        [proto] = request.staged.glob("*.pb")
        assert len(json.dumps(request.job)) + proto.stat().st_size < MOST_BYTES / 10, request.step


def test_beam_can_build_the_project_by_its_setup_file(offline, wheel, tmp_path):
    flags = (*CLOUD, *OFFLINE, f"--setup_file={wheel.parent.parent / 'pyproject.toml'}")
    receipts = StepReceipts(str(tmp_path), "MatchQueries")
    engine = Engine(workers=1, beam_flags=flags, stage="match-pairs")
    request = build_request(empty_step("MatchQueries"), engine, receipts, stage="match-pairs", staged=tmp_path / "a")
    with tarfile.open(request.staged / "workflow.tar.gz") as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    files_of_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert files_of_wheel <= held


def test_the_job_of_a_template_is_the_stages_command_as_one_element(offline, monkeypatch):
    from apache_beam.runners.dataflow.internal import apiclient

    asked = []
    ask = apiclient.Job.__init__
    monkeypatch.setattr(apiclient.Job, "__init__", lambda job, *given: (asked.append(job), ask(job, *given))[1])
    lead_main(["--stage=match-pairs", "--data=gs://bucket/data", *CLOUD, *OFFLINE, "--job_name=spring"])
    [job] = asked
    assert job.proto.name == "spring"
    names = {transform.unique_name for transform in job.proto_pipeline.components.transforms.values()}
    assert {"Stage", "Lead"} <= names
    with pytest.raises(LeadFailed, match="match-pairs ended with 2"):
        lead(("match-pairs", ["--data=gs://bucket/nothing", "--quiet"]))
