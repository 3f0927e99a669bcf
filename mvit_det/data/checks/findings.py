"""What a check finds, and the interface of the work on one file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Severity = Literal["error", "warning", "note"]
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the picture as stored


@dataclass(frozen=True)
class Finding:
    """One fault of a file, an annotation, the config or the machine.

    Attributes:
        severity: "error": training stops at it, or skips the sample; "warning": it is used, but
            most likely not as meant; "note": good to know.
        kind: short name that is the same for all faults of this kind, such as "cut picture"; a row
            of the table, and a contact sheet.
        message: one sentence with the value and the fix, without the path.
        file: path of the file, if it is of one.
        ids: what names it in that file: image_id, annotation_id, line, second, ...
        picture: path of the picture or video to show on the contact sheet; "" for none.
        box: outlined in the picture.
        other: path of a second picture that is shown next to it, as of a near-duplicate.
        rank: the lowest ones of a kind are shown.
    """

    severity: Severity
    kind: str
    message: str
    file: str = ""
    ids: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""
    box: Box | None = None
    other: str = ""
    rank: float = 0.0


@dataclass(frozen=True)
class FileReport:
    """The result of a `FileCheck`.

    Attributes:
        findings: of this file.
        digest: of the content of the file in 8 bytes, to find equal files; None if unknown.
        hash: perceptual hash of 64 bits, to find similar pictures; None if there is none.
    """

    findings: list[Finding]
    digest: int | None = None
    hash: int | None = None


class FileCheck(Protocol):
    """The check of one file, which runs in another process: it must pickle, and be small.

    A ``cost`` is the time that it takes, in that of a picture; without it, 1.
    """

    @property
    def path(self) -> str:
        """Path of the file."""

    def run(self) -> FileReport:
        """Read the file completely. Faults are findings, not exceptions."""
