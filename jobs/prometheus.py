"""The counters of a run in the text format of Prometheus.

Source: prometheus.io/docs/instrumenting/exposition_formats (text format 0.0.4): lines HELP and TYPE before the samples
of a metric; backslash, line feed and, in labels, the quotation mark are escaped.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "wit400m_"

Samples = Iterable[tuple[Mapping[str, str], float]]


class Metric(NamedTuple):
    """A metric and its samples.

    Attributes:
        name: Without what the names of all begin with.
        help: What it is.
        samples: Labels and value of each.
        kind: A counter only ever grows while a run lasts.
    """

    name: str
    help: str
    samples: Samples
    kind: Literal["gauge", "counter"] = "gauge"


def prometheus_text(content: Mapping[str, Any]) -> str:
    r"""Counters (`jobs.json_logs`) in the text format of Prometheus.

    >>> steps = {"Match": {"units": 9, "done": 3, "seconds": 1.5}}
    >>> stage = {"counts": {"pairs/in": 5}, "steps": steps, "state": "running", "output": "data/matched"}
    >>> text = prometheus_text({"exit_code": None, "seconds": 2.0, "stages": {"match-pairs": stage}})
    >>> print("\n".join(line for line in text.splitlines() if "HELP" not in line))
    # TYPE wit400m_count gauge
    wit400m_count{stage="match-pairs",name="pairs/in"} 5
    # TYPE wit400m_step_units gauge
    wit400m_step_units{stage="match-pairs",step="Match"} 9
    # TYPE wit400m_step_done gauge
    wit400m_step_done{stage="match-pairs",step="Match"} 3
    # TYPE wit400m_step_seconds gauge
    wit400m_step_seconds{stage="match-pairs",step="Match"} 1.5
    # TYPE wit400m_stage_done gauge
    wit400m_stage_done{stage="match-pairs"} 0
    # TYPE wit400m_run_seconds gauge
    wit400m_run_seconds 2.0
    """
    stages: Mapping[str, Any] = content["stages"]
    counts = [
        ({"stage": stage, "name": name}, number)
        for stage, found in stages.items()
        for name, number in found["counts"].items()
    ]
    exit_code: list[tuple[dict[str, str], int]] = [] if content["exit_code"] is None else [({}, content["exit_code"])]
    metrics = [
        Metric("count", "What the steps that are done have counted.", counts),
        Metric("step_units", "Units of a step.", _of_steps(stages, "units")),
        Metric("step_done", "Units of a step that are done.", _of_steps(stages, "done")),
        Metric("step_seconds", "How long a step took, when it is done.", _of_steps(stages, "seconds")),
        Metric(
            "stage_done", "1: the stage is done.", [({"stage": s}, int(stages[s]["state"] == "done")) for s in stages]
        ),
        *_fetch_metrics(stages),
        Metric("run_seconds", "How long the run has lasted.", [({}, content["seconds"])]),
        Metric("run_exit_code", "Of a run that has ended.", exit_code),
    ]
    return render_metrics(metrics)


def render_metrics(metrics: Iterable[Metric]) -> str:
    r"""Metrics as text; those without samples are left out.

    >>> print(render_metrics([Metric("size", "A\nline.", [({"name": 'a "b" \\ é'}, 3)])]), end="")
    # HELP wit400m_size A\nline.
    # TYPE wit400m_size gauge
    wit400m_size{name="a \"b\" \\ é"} 3
    """
    return "".join(f"{line}\n" for metric in metrics for line in _lines_of(metric))


def _lines_of(metric: Metric) -> Iterator[str]:
    name, samples = _PREFIX + metric.name, list(metric.samples)
    if samples:
        yield f"# HELP {name} {_escape(metric.help)}"
        yield f"# TYPE {name} {metric.kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _labels(labels: Mapping[str, str]) -> str:
    pairs = [f'{name}="{_escape(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels.items()]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _of_steps(stages: Mapping[str, Any], key: str) -> list[tuple[dict[str, str], float]]:
    return [
        ({"stage": stage, "step": label}, step[key])
        for stage, found in stages.items()
        for label, step in found["steps"].items()
    ]


def _fetch_metrics(stages: Mapping[str, Any]) -> Iterator[Metric]:
    """How far the workers of a fetch are, of the steps that are one."""
    fetches = [
        ({"stage": stage, "step": label}, step["fetch"])
        for stage, found in stages.items()
        for label, step in found["steps"].items()
        if step.get("fetch")
    ]

    def of(key: str) -> list[tuple[Mapping[str, str], float]]:
        return [(labels, facts[key]) for labels, facts in fetches]

    urls = [
        (labels | {"status": status}, number)
        for labels, facts in fetches
        for status, number in facts["statuses"].items()
    ]
    yield Metric("fetch_urls_total", "URLs by what came of them; ok: an image.", urls, "counter")
    yield Metric("fetch_requests_total", "Requests that have an answer, or failed.", of("requests"), "counter")
    yield Metric("fetch_received_bytes_total", "Bytes of bodies.", of("received_bytes"), "counter")
    yield Metric("fetch_images_per_second", "Images a second, lately.", of("images_per_s"))
    yield Metric(
        "fetch_bytes_per_second",
        "Bytes of bodies a second, lately.",
        [(labels, round(facts["mb_per_s"] * 1e6)) for labels, facts in fetches],
    )
    yield Metric("fetch_success_ratio", "Images of all URLs that have a status.", of("success_share"))
    yield Metric("fetch_requests_under_way", "Requests without an answer yet.", of("under_way"))
    yield Metric("fetch_hosts_waiting", "Hosts wanted, with nothing under way.", of("hosts_waiting"))
    yield Metric("fetch_workers", "Workers that fetch.", of("workers"))
