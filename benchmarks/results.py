"""Results of `compare.py`: kept in a JSON file, printed as a table, and written to a page.

A result is a dict of "row", "what", "peer", the `CONDITIONS`, "seconds" and "peak" in bytes of both
sides, "ratio" and its "spread", "difference" of the outcomes, "rounds", "load" and the machine.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mvit_det.errors import UserError

# A later result with the same row and conditions replaces an earlier one.
CONDITIONS = ("precision", "threads", "device", "compiled", "quick")
LIBRARIES = (
    *("mvit_det", "torch", "torchvision", "timm", "detectron2", "hotcoco", "pycocotools", "av"),
    *("opencv-python-headless", "onnxruntime", "openvino", "nncf"),
)
MARKERS = ("<!-- speed table -->", "<!-- end of speed table -->")
HEADS = ("row", "work", "peer", "how", "threads", "ours, s", "peer, s", "ratio")
HEADS += ("memory", "difference", "load")

Result = Mapping[str, Any]


def machine(device_name: str | None) -> dict[str, Any]:
    """Describe the processor, or the GPU of that name, the libraries' versions, and the date."""
    versions = {name: installed(name) for name in LIBRARIES}
    date_ = date.today().isoformat()
    return {"processor": device_name or processor(), "versions": versions, "date": date_}


def processor() -> str:
    """Return the processor's name, after the number of its threads."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def installed(name: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read(path: Path) -> list[Result]:
    """Read the results of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def add(results: Sequence[Result], new: Result) -> list[Result]:
    """Add a result, in the place of an earlier one of the same row and conditions."""
    names = ("row", *CONDITIONS)
    same = [all(each[name] == new[name] for name in names) for each in results]
    if not any(same):
        return [*results, new]
    return [new if equal else each for each, equal in zip(results, same)]


def table(results: Sequence[Result]) -> str:
    """Format results as a Markdown table, and what they were measured on."""
    rows = [
        [
            each["row"],
            each["what"],
            each["peer"],
            how(each),
            each["threads"],
            *(f"{each['seconds'][side]:.3g}" for side in ("ours", "peer")),
            f"{each['ratio']:.2f} ({each['spread'][0]:.2f} to {each['spread'][1]:.2f})",
            f"{each['peak']['peer'] / each['peak']['ours']:.2f}",
            "" if each["difference"] is None else f"{each['difference']:.0e}",
            f"{each['load']:.1f}",
        ]
        for each in results
    ]
    places = {
        f"{each['processor']}, {each['date']}: "
        + ", ".join(f"{name} {number}" for name, number in each["versions"].items() if number)
        for each in results
    }
    # strings stay as they are
    printed = tabulate(rows, HEADS, tablefmt="github", disable_numparse=True)
    return "\n\n".join([printed, *sorted(places)])


def how(result: Result) -> str:
    """Return the conditions of a result that differ from the usual ones."""
    words = [result["precision"], "compiled" * result["compiled"], "quick" * result["quick"]]
    words += [result["device"]] if result["device"] != "cpu" else []
    return ", ".join(filter(None, words))


def write_page(page: Path, results: Sequence[Result]) -> None:
    """Replace what stands between the two `MARKERS` of a page by the table.

    Raises:
        UserError: the page does not have each of them once, in this order.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = MARKERS
    before, found, rest = text.partition(begin)
    _, found_too, after = rest.partition(end)
    if not (found and found_too):
        raise UserError(f"{page} has no lines {begin} and {end}: add them where the table goes.")
    page.write_text(f"{before}{begin}\n\n{table(results)}\n\n{end}{after}", encoding="utf-8")
