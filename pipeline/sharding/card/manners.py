"""What stages counted and by which options ► the rules towards sites that were switched off, and opt-outs honoured."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.base.drops import DropReason
from pipeline.base.funnel import drops_of, things_of


class Manner(NamedTuple):
    """A rule that a stage keeps towards the sites it takes from, unless an option switches it off."""

    stage: str
    option: str
    off: bool | float  # the value that switches the rule off
    sentence: str  # what that means


MANNERS: Final = (
    Manner("extract-pairs", "noindex", False, "Pages that ask search engines to leave them out (noindex) were read."),
    Manner("fetch-images", "robots", False, "No robots.txt was read, and none obeyed."),
    Manner("fetch-images", "tdm_file", False, "No tdmrep.json was read, and none obeyed."),
    Manner("fetch-images", "respect_noindex", False, "Images whose answers say noindex or noimageindex were taken."),
    Manner("fetch-images", "allow_private", True, "Private and local addresses were asked too."),
    Manner("fetch-images", "high_ports", True, "Ports from 1024 on were asked too."),
    Manner("fetch-images", "verify_tls", False, "Certificates of servers were not verified."),
    Manner("fetch-images", "host_rate", 0, "Requests to one host were not held to a rate."),
    Manner("fetch-images", "shared_limit", 0, "Requests to the hosts of one site or address were not held to a rate."),
)

# Why something was left out because somebody does not want it to be taken, or to be in the set.
OPT_OUTS: Final = {
    DropReason.OPTED_OUT: "the page, the answer or tdmrep.json reserves it (noai, noindex, tdm-reservation)",
    DropReason.OPTED_OUT_EMBEDDED: "the image file itself reserves it (IPTC/PLUS Data Mining)",
    DropReason.ROBOTS_DISALLOW: "robots.txt forbids the address",
    DropReason.ROBOTS_UNAVAILABLE: "robots.txt could not be had for an error of the server, which forbids all",
    DropReason.CRAWL_DELAY: "robots.txt asks for longer pauses than there was time for",
    DropReason.HOST_REFUSES: "the host refused all that was asked",
    DropReason.BLOCKED: "on a list of what is left out, or removed before",
}


def honoured(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """What was left out because somebody does not want it taken: stage and thing, why, how many in all runs.

    Args:
        history: What the stages counted.
    """
    found = dict[tuple[str, str], int]()
    for run in history:
        for thing in things_of(run["counts"]):
            for reason, number in drops_of(run["counts"], thing):
                if why := OPT_OUTS.get(reason):  # type: ignore[call-overload]
                    key = (f"{run['stage']}, {thing}", why)
                    found[key] = found.get(key, 0) + number
    return [(*key, number) for key, number in found.items()]


def switched_off(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rules of `MANNERS` that were switched off, a sentence each, with the option and in how many runs.

    Args:
        history: What the stages before counted, with their options; of a run without options nothing is known, which is
            a sentence too.
    """
    sentences = []
    for manner in MANNERS:
        runs = [run for run in history if run["stage"] == manner.stage]
        off = [run for run in runs if _is_off(manner, run)]
        if off:
            where = f"{manner.stage}, {manner.option.replace('_', '-')}"
            sentences.append(f"{manner.sentence} ({where}; in {len(off):,} of {len(runs):,} runs)")
    unknown = sum(run["stage"] in {manner.stage for manner in MANNERS} and "options" not in run for run in history)
    return [*sentences, f"Of {unknown:,} runs of an older version it is not known."] if unknown else sentences


def _is_off(manner: Manner, run: Mapping[str, Any]) -> bool:
    """Whether a run switched a rule off; options that do not change an output are told by name."""
    value = run.get("options", {}).get(manner.option)
    return value == manner.off or manner.option in run.get("switched_off", [])
