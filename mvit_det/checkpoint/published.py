"""Find and download published weights by name.

    python -m mvit_det.checkpoint.published

prints their table. `fetch` downloads one into iopath's cache; nothing is redistributed.
"""

import difflib
import os
from argparse import ArgumentParser

from mvit_det.checkpoint.catalog import HUB_FILE, PUBLISHED, ZOO, Published
from mvit_det.checkpoint.download import download
from mvit_det.errors import UserError

ZOO_PREFIX = "detectron2://"
ENDINGS = (".pth", ".pyth", ".pt", ".pkl", ".ckpt", ".bin", ".safetensors")
COLUMNS = ("name", "what", "format", "licence", "source")


def find(spelling: str) -> Published | None:
    """Find a published file by name, file name or URL; None if it is unknown.

    Case is ignored. A file name that several share means the first in `PUBLISHED`.

    Args:
        spelling: name, file name, or URL (http, https, detectron2).
    """
    wanted = _expand_prefix(spelling).lower()
    for row in PUBLISHED.values():
        file_name = row.file if row.file != HUB_FILE else row.name
        if wanted in (row.name.lower(), file_name.lower(), row.url.lower()):
            return row
    return None


def fetch(source: str) -> str:
    """Return the path of weights on this machine, downloading them if necessary.

    Args:
        source: an existing path, returned unchanged; else the name or file name of published
            weights, or a URL (http, https, detectron2), which is downloaded once.

    Raises:
        UserError: the source is neither a path, a published name nor a URL, or the download fails.
    """
    source = os.fspath(source)
    if os.path.isfile(source):
        return source
    row = find(source)
    if row:
        return download(row.url, row.checksum)
    url = _expand_prefix(source)
    if url.lower().startswith(("http://", "https://")):
        return download(url)
    if os.path.exists(source):  # a folder, which the reader refuses
        return source
    raise UserError(_explain_unknown(source))


def _expand_prefix(source: str) -> str:
    """Expand Detectron2's prefix ``detectron2://`` to the URL it stands for."""
    return ZOO + source.removeprefix(ZOO_PREFIX) if source.startswith(ZOO_PREFIX) else source


def _explain_unknown(source: str) -> str:
    """Explain why a source is not a file, a published name or a supported URL."""
    if "://" in source:
        return (
            f"Weights {source} cannot be downloaded: give a URL that starts with https://, "
            f"http:// or {ZOO_PREFIX}, or download the file and give its path."
        )
    names = {name.lower(): name for name in PUBLISHED}
    close = difflib.get_close_matches(source.lower(), names, n=3, cutoff=0.6)
    nearest = " or ".join(names[name] for name in close)
    command = "`python -m mvit_det.checkpoint.published` lists all names"
    if os.path.dirname(source) or source.lower().endswith(ENDINGS):
        hint = f", or take a published name such as {nearest}" if nearest else ""
        if os.path.dirname(source).startswith("output"):
            config = os.path.basename(os.path.dirname(source))
            hint = f", or train {config} first, which writes this file"
        return (
            f"Weights {source} do not exist (current folder: {os.getcwd()}): correct the "
            f"path{hint}; {command}."
        )
    hint = f"did you mean {nearest}? " if nearest else "give a path, a URL or a published name: "
    return f"Weights {source} are neither a file here nor a published name: {hint}{command}."


def to_markdown() -> str:
    """Format all published files as a Markdown table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in PUBLISHED.values():
        name, source = f"[{row.name}]({row.url})", f"[page]({row.source})"
        lines.append((name, row.what, row.format, row.licence, source))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    ArgumentParser(
        prog="python -m mvit_det.checkpoint.published",
        description="Print the table of published weights, in Markdown.",
    ).parse_args()
    print(to_markdown())
