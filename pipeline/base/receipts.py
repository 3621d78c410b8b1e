"""What a unit of work left behind: its receipt names every file that it wrote, with size and digest, and its counts.

A unit is done when its receipt is there and the files it names are whole. The counts of a stage are the sums of those
of its receipts, whatever an engine's own counters say; a unit that was done twice still has one receipt.
Out: ``_steps/STEP/NAME.json`` in the stage's folder.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.base import files
from pipeline.base.drops import Counts, LostRows
from pipeline.base.tables import read_counts

_FOLDER = "_steps"
_PLAN = "_plan.json"
_NAMED = 3  # of the outputs that are missing


class MissingOutput(RuntimeError):
    """What a step should have written is not where it belongs."""


class Receipt(NamedTuple):
    """What a unit wrote and counted.

    Attributes:
        files: Bytes and SHA-256 of each file, by its path in the stage's folder.
        counts: What it counted.
    """

    files: dict[str, tuple[int, str]]
    counts: Counts


class Begun(NamedTuple):
    """How far a step is that began.

    Attributes:
        label: Of the step.
        done: Units that are done.
        units: All units; None: not known.
        started: When the last run of it began, in seconds since 1970; None: not known.
        done_before: Units that were done then.
        latest: When its last receipt was written; None: there is none, or the file system does not tell.
    """

    label: str
    done: int
    units: int | None
    started: float | None
    done_before: int
    latest: float | None


class StepReceipts(NamedTuple):
    """The receipts of a step.

    Attributes:
        folder: Of the stage.
        label: Of the step.
    """

    folder: str
    label: str

    @property
    def path(self) -> str:
        """The folder of the receipts."""
        return files.join(self.folder, _FOLDER, self.label)

    def file(self, output: str) -> str:
        """The receipt of the unit that writes an output.

        >>> StepReceipts("data/pairs", "Extract").file("data/pairs/_extracted/a.parquet")
        'data/pairs/_steps/Extract/extracted+a.parquet.json'
        """
        name = output.removeprefix(self.folder.rstrip("/") + "/").replace("/", "+").lstrip("_.")
        return files.join(self.path, f"{name}.json")

    def read(self, output: str) -> Receipt | None:
        """The receipt of the unit that writes an output; None where it has none."""
        try:
            content = files.read_json(self.file(output))
        except FileNotFoundError:
            return None
        return Receipt({name: (size, digest) for name, (size, digest) in content["files"].items()}, content["counts"])

    def read_all(self, outputs: Sequence[str]) -> list[Receipt] | None:
        """The receipts of all units, if each has one and all files they name are there, as large as they were."""
        there = files.list_sizes(self.path)
        if any(files.basename(self.file(output)) not in there for output in outputs):
            return None
        receipts = [receipt for receipt in files.each(self.read, outputs) if receipt is not None]
        wanted = self._sizes(*receipts)
        return receipts if files.sizes(wanted) == wanted else None

    def check(self, output: str) -> bool:
        """Whether all files of a unit are as they were written, digests included; else its receipt is withdrawn."""
        receipt = self.read(output)
        if receipt is not None and self._is_whole(receipt):
            return True
        files.remove_file(self.file(output))
        return False

    def begin(self, units: int, *, now: float) -> None:
        """Notes that a run of the step begins, for those who look at it (`read_begun`).

        Args:
            units: How many the step has.
            now: Seconds since 1970.
        """
        content = {"units": units, "started": now, "done_before": self.num_done()}
        files.write_json(files.join(self.path, _PLAN), content)

    def num_done(self) -> int:
        """How many receipts there are; one listing."""
        return len(files.list_files(self.path))

    def read_begun(self) -> Begun:
        """How far the step is; one listing and one small file."""
        there = files.list_entries(self.path)
        times = [entry.modified for name, entry in there.items() if name[0] not in "._"]
        plan = files.read_json(files.join(self.path, _PLAN)) if _PLAN in there else {}
        known = [moment for moment in times if moment is not None]
        return Begun(
            self.label,
            len(times),
            plan.get("units"),
            plan.get("started"),
            plan.get("done_before", 0),
            max(known, default=None),
        )

    def missing(self, outputs: Sequence[str]) -> str:
        """What `read_all` does not find, in words."""
        receipts = dict(zip(outputs, files.each(self.read, outputs), strict=True))
        there = files.sizes(path for receipt in receipts.values() if receipt for path in self._sizes(receipt))
        lost = [
            output
            for output, receipt in receipts.items()
            if receipt is None or any(there.get(path) != size for path, size in self._sizes(receipt).items())
        ]
        named = ", ".join(lost[:_NAMED]) + (", …" if len(lost) > _NAMED else "")
        return f"{len(lost):,} of {len(outputs):,} outputs are not there, or not as they were written: {named}"

    def make(self, output: str, work: Callable[[], Counts]) -> Counts:
        """Makes an output, unless its receipt and all files of it are there and whole.

        Returns:
            The counts.

        Raises:
            MissingOutput: When the work does not write it.
            LostRows: When the file says that other things were counted.
        """
        found = self.read(output)
        if found is not None and self._is_whole(found):
            return found.counts
        with files.record_writes() as written:
            counts = {name: int(number) for name, number in work().items()}
        start = self.folder.rstrip("/") + "/"
        by_name = {w.path.removeprefix(start): (w.bytes, w.sha256) for w in written if w.path.startswith(start)}
        if output.removeprefix(start) not in by_name:
            raise MissingOutput(f"{output}: its unit of {self.label} ended without writing it")
        in_file = read_counts(output)
        if in_file and in_file != counts:
            raise LostRows(f"{output}: {counts} were counted, but the file says {in_file}")
        files.write_json(self.file(output), Receipt(by_name, counts)._asdict())
        return counts

    def _sizes(self, *receipts: Receipt) -> dict[str, int]:
        return {files.join(self.folder, name): size for r in receipts for name, (size, _) in r.files.items()}

    def _is_whole(self, receipt: Receipt) -> bool:
        """Whether all files of a receipt are there with its digests."""
        try:
            return all(
                files.file_digest(files.join(self.folder, name)) == digest
                for name, (_, digest) in receipt.files.items()
            )
        except FileNotFoundError:
            return False


def list_begun(folder: str) -> list[Begun]:
    """The steps of a stage that is not done which have begun, in the order they did."""
    steps = files.join(folder, _FOLDER)
    labels = [name for name, entry in files.list_entries(steps).items() if entry.is_folder]
    begun = files.each(lambda label: StepReceipts(folder, label).read_begun(), labels)
    return sorted(begun, key=lambda step: (step.started or 0.0, step.label))
