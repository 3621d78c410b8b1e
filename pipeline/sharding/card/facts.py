"""All that a data card is made of, and what both of its texts, the page and the README, say of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.base.carried_columns import Carried
from pipeline.sharding.card.options import Said
from pipeline.sharding.card.survey import Survey

DEFAULT_TITLE = "Image-text pairs"


class CardFacts(NamedTuple):
    """What a card is made of.

    Attributes:
        manifest: Of the shards.
        carried: Columns that samples carry.
        queries: How many pairs every query had, was given and got (`CARD_QUERIES`), the most frequent first.
        history: What the stages counted, with their options, in order.
        survey: What is in the indexes.
        scores: Of what samples were chosen by (`SCORE_COUNTS`).
        pictures: Of each sample that is shown, by its key, the data URL of a small picture; empty: it did not decode.
        said: What people say of the set.
        versions: Of the software by which stages ran: name of the stage, and version by package.
        decontamination: What became of each evaluation set that samples were compared with.
    """

    manifest: Mapping[str, Any]
    carried: Carried
    queries: pa.Table
    history: Sequence[Mapping[str, Any]]
    survey: Survey
    scores: pa.Table
    pictures: Mapping[str, str]
    said: Said
    versions: Sequence[tuple[str, Mapping[str, str]]]
    decontamination: Sequence[Mapping[str, Any]]

    @property
    def title(self) -> str:
        """The name of the set."""
        return self.said.title or DEFAULT_TITLE


def extra_keys(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the JSON of samples says besides what it always does, by the options that they were fetched with."""
    options = [run.get("options", {}) for run in history if run["stage"] == "fetch-images"]
    peer = any(one.get("img2dataset_names", False) for one in options)
    exif = peer or any(one.get("exif", "none") != "none" for one in options)
    return ["exif"] * exif + ["status", "error_message"] * peer
