#!/usr/bin/env python
"""Write the joint label set of ImageNet-21K and ImageNet-1K, in the order of the released models.

    python datasets/prepare_imagenet21k_classes.py IMAGENET1K_TRAIN IMAGENET21K OUTPUT.txt

The first 1000 classes are those of ImageNet-1K, sorted by folder; the others of ImageNet-21K
follow, also sorted. With the release of winter 2021 there are 19168 classes, as in the released
models. Both folders may hold class folders or tar files (one per class). The configs look for the
file as imagenet21k_classes.txt in the datasets folder; set any other place by
dataloader.train.dataset.classes=OUTPUT.txt (testing is on ImageNet-1K).
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

# As a script, this finds the package next to its folder even if that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mvit_det  # noqa: E402, F401  before detectron2, which it makes importable
from mvit_det.data.class_labels import display_names  # noqa: E402
from mvit_det.data.classification.datasets import class_folders  # noqa: E402
from mvit_det.errors import UserError  # noqa: E402
from mvit_det.files import atomic_file  # noqa: E402

RELEASED = 19168  # classes


def joint_classes(first: list[str], second: list[str]) -> list[str]:
    """Append to ``first`` the classes of ``second`` that it does not have."""
    known = set(first)
    return first + [folder for folder in second if folder not in known]


def main() -> None:
    """Read both trees, write the file, and print whether it is the released label set."""
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("imagenet1k", help="folder with the 1000 classes, e.g. imagenet/train")
    parser.add_argument("imagenet21k", help="folder with the classes of ImageNet-21K")
    parser.add_argument("output", help="text file to write: folder, tab, name to show")
    args = parser.parse_args()
    try:
        folders = joint_classes(class_folders(args.imagenet1k), class_folders(args.imagenet21k))
        rows = zip(folders, display_names(folders))
        with atomic_file(args.output) as partial:
            lines = "".join(f"{folder}\t{name}\n" for folder, name in rows)
            partial.write_text(lines, "utf-8", newline="\n")
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: {args.output} cannot be written ({error.strerror}): choose another place."
        )
    print(f"{args.output}: {len(folders)} classes")
    if len(folders) != RELEASED:
        print(
            f"The released models have {RELEASED}: with {len(folders)} a model can be trained, but "
            "theirs cannot be loaded."
        )


if __name__ == "__main__":
    main()
