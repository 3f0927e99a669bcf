"""The published weight files of MViTv2, one per row of ``published.csv``.

The files stay with their publishers, whose pages the rows name.
"""

import csv
from dataclasses import dataclass
from importlib import resources

ZOO = "https://dl.fbaipublicfiles.com/detectron2/"
HUB_FILE = "model.safetensors"  # shared by all models of the hub, so it does not identify one


@dataclass(frozen=True)
class Published:
    """A published weight file.

    Attributes:
        name: name in this project; follows the publisher's name where there is one.
        format: how the tensors are named, a key of ``formats.FORMATS``.
        what: network, clip, and training data.
        licence: of the weights.
        checksum: "algorithm:first digits in hexadecimal" if the publisher states one, else "".
            File names of torchvision, MMAction2 and MMSelfSup end in digits of the SHA-256. Those
            of Detectron2's detectors end in six digits whose meaning is not documented.
        url: address of the file.
        source: address of the page that describes it.
        config: name of the config whose model the weights fill, or start.
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
        """File name, the last part of the URL."""
        return self.url.rsplit("/", 1)[-1]


with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as _file:
    PUBLISHED = {row["name"]: Published(**row) for row in csv.DictReader(_file)}
