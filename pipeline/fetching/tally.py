"""What a worker has done so far, for those who watch."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.base.drops import DropReason
from pipeline.base.schemas import OK_STATUS
from pipeline.fetching.answers import Fetched


@dataclass
class Tally:
    """What a worker has done so far.

    Attributes:
        requests: Requests whose answer, or failure, is there.
        statuses: URLs by what came of them.
    """

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def note(self, fetched: Fetched) -> None:
        """Counts a URL."""
        self.statuses[str(fetched.image) if isinstance(fetched.image, DropReason) else OK_STATUS] += 1
