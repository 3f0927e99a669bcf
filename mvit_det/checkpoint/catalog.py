"""The published weight files of MViTv2 and its kin: one row each of ``published.csv``.

The files stay with their publishers, whose pages the rows name.
"""

import csv
from dataclasses import dataclass
from importlib import resources

ZOO = "https://dl.fbaipublicfiles.com/detectron2/"
HUB_FILE = "model.safetensors"  # the same for all models of the hub: no name to ask for


@dataclass(frozen=True)
class Published:
    """A published weight file.

    Attributes:
        name: ours; where a publisher has names of its own, after the publisher's.
        format: the publisher's way to name tensors, a key of ``formats.FORMATS``.
        what: network, clip, and what it was trained on.
        licence: of the weights.
        checksum: "algorithm:first digits in hexadecimal" where the publisher states one, else "".
            torchvision and MMAction2 end the names of their files in digits of the SHA-256. Those
            of Detectron2's detectors end in six digits, of which it does not say what they are.
        url, source: of the file, and of the page that describes it.
        config: whose model the weights fill; "" for those of MViTv1, which has none.
    """

    name: str
    format: str
    what: str
    licence: str
    checksum: str
    url: str
    source: str
    config: str

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as _file:
    PUBLISHED = {row["name"]: Published(**row) for row in csv.DictReader(_file)}
