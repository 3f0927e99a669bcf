"""The findings of one run: counted, written to check.json as they come, and shown in a table."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mvit_det.data.checks.findings import Finding
from mvit_det.errors import printable
from mvit_det.evaluation.tables import percent_table
from mvit_det.evaluation.writing import open_atomic

VERSION = 1  # of check.json
SEVERITIES = ("error", "warning", "note")
SHOWN = 24  # pictures on a contact sheet
_SENTENCES = 10  # of one kind in the log, if they are of no file


class Report:
    """Takes findings; keeps their counts, one example and the worst pictures of each kind.

    Args:
        file: of check.json, open for writing.
        head: first entries of that file.

    Attributes:
        counts: number of findings by (severity, kind).
        worst: of each kind that has pictures, those of the lowest ranks.
    """

    def __init__(self, file: TextIOWrapper, head: Mapping[str, Any]) -> None:
        self._file = file
        self.counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], list[Finding]] = {}
        self._worst: dict[str, list[tuple[float, int, Finding]]] = {}
        self._pending: dict[str, Finding] = {}
        self._reported: set[str] = set()  # sentences that were pending
        begin = json.dumps(head, indent=1)[:-2]
        file.write(f'{begin},\n "findings": [')

    def add(self, finding: Finding) -> None:
        """Count and write a finding."""
        sentence = _sentence(finding)
        if self._pending.pop(sentence, None):
            self._reported.add(sentence)
        key = finding.severity, finding.kind
        self._file.write(",\n  " if self.counts else "\n  ")
        self.counts[key] += 1
        self._file.write(json.dumps(_entry(finding), default=str))
        examples = self._examples.setdefault(key, [])
        if not examples or (not finding.file and len(examples) < _SENTENCES):
            examples.append(finding)
        if finding.picture:
            worst = self._worst.setdefault(finding.kind, [])
            entry = (-finding.rank, -sum(self.counts.values()), finding)
            (heapq.heappushpop if len(worst) == SHOWN else heapq.heappush)(worst, entry)

    def add_sentence(self, severity: Any, kind: str, sentence: str) -> None:
        """Add what a start reports, unless the check of a file reports the same."""
        sentence = sentence.strip().removesuffix(".")
        if sentence not in self._reported:
            self._pending.setdefault(sentence, Finding(severity, kind, sentence))

    def close(self, files: Mapping[str, int]) -> None:
        """Write the rest: what a start reports, and the counts.

        Args:
            files: number of files that were read, by split.
        """
        for finding in list(self._pending.values()):
            self.add(finding)
        totals = {severity: self.total(severity) for severity in SEVERITIES}
        counts = {f"{severity}: {kind}": count for (severity, kind), count in self._sorted()}
        tail = json.dumps({"files": files, "totals": totals, "counts": counts}, indent=1)
        self._file.write(f"\n ],\n{tail[2:]}\n")

    def total(self, severity: str) -> int:
        """Return the number of findings of a severity."""
        return sum(count for (each, _), count in self.counts.items() if each == severity)

    def worst(self) -> dict[str, list[Finding]]:
        """Return the findings of each kind to show, the worst first."""
        return {
            kind: [finding for *_, finding in sorted(entries, reverse=True)]
            for kind, entries in self._worst.items()
        }

    def table(self) -> str:
        """Format the counts by kind, and the first finding of each."""
        rows = [(*key, count, _where(self._examples[key][0])) for key, count in self._sorted()]
        lines = [
            f"  {finding.kind}: {printable(finding.message)}."
            for key, _ in self._sorted()
            for finding in self._examples[key]
        ]
        table = percent_table(["severity", "what", "number", "the first one"], rows)
        return "\n".join([table, "", *lines])

    def _sorted(self) -> list[tuple[tuple[str, str], int]]:
        rank = SEVERITIES.index
        return sorted(self.counts.items(), key=lambda each: (rank(each[0][0]), -each[1], each[0]))


@contextmanager
def open_report(path: Path, head: Mapping[str, Any]) -> Iterator[Report]:
    """Open check.json, which gets its name when the block succeeds, for a `Report`.

    Raises:
        UserError: the file cannot be written.
    """
    with open_atomic(path) as file:
        text = TextIOWrapper(file, encoding="utf-8")
        yield Report(text, {"version": VERSION, **head})
        text.flush()
        text.detach()


def _entry(finding: Finding) -> dict[str, Any]:
    entry = dict(severity=finding.severity, kind=finding.kind, message=finding.message)
    more = dict(file=finding.file, ids=finding.ids, picture=finding.picture, box=finding.box)
    more["other"] = finding.other
    # a picture without a box is the file itself
    return {**entry, **{key: value for key, value in more.items() if value}}


def _sentence(finding: Finding) -> str:
    return f"{finding.file}: {finding.message}" if finding.file else finding.message


def _where(finding: Finding) -> str:
    ids = ", ".join(f"{key} {value}" for key, value in finding.ids.items())
    name = Path(finding.file).name
    return printable(f"{name} ({ids})" if name and ids else name or ids)
