#!/usr/bin/env python
"""Crop the objects of a COCO dataset into class folders, to train a classifier on.

    python datasets/crops_from_coco.py --json my/train.json --images my/images \\
        --output my/crops/train
    python datasets/crops_from_coco.py --json my/val.json --images my/images --output my/crops/val
    python train_net.py --config-file configs/imagenet/mvitv2_t_in1k.py \\
        --train-images my/crops/train --val-images my/crops/val train.init_checkpoint=mvitv2_t_in1k

Keep training and validation photographs separate, as above: crops of one photograph are alike.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

# As a script, this finds the package next to its folder even if that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mvit_det  # noqa: E402, F401  before detectron2, which it makes importable
from mvit_det.data.detection.crops import BACKGROUND, crop_objects  # noqa: E402
from mvit_det.data.image_files import PictureFormat, use_pictures  # noqa: E402
from mvit_det.errors import UserError  # noqa: E402


def argument_parser() -> ArgumentParser:
    """Build the parser of the arguments of `crop_objects`."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, metavar="FILE", help="annotations, COCO format")
    parser.add_argument("--images", required=True, metavar="FOLDER", help="their images")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="must not exist yet")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.1,
        help="around each box, as a share of its longer side (default: %(default)s)",
    )
    parser.add_argument("--size", type=int, help="side of the pictures in pixels; else as they are")
    parser.add_argument(
        "--no-background",
        action="store_true",
        help=f"no class {BACKGROUND!r} of places that meet no object",
    )
    what = "as dataloader.pictures of a config: "
    parser.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help=f"{what}values that become 0 and 255, of pictures of more than 8 bits",
    )
    parser.add_argument(
        "--bands",
        type=int,
        nargs=3,
        metavar=("R", "G", "B"),
        help=f"{what}bands of TIFF files, from 1, that become red, green and blue",
    )
    parser.add_argument("--max-pixels", type=int, help=f"{what}limit of the pixels of a picture")
    parser.add_argument("--seed", type=int, default=0, help="of these places")
    return parser


def main() -> None:
    """Crop, and print the number of crops per class."""
    args = argument_parser().parse_args()
    try:
        use_pictures(PictureFormat(args.value_range, args.bands, args.max_pixels))
        counts = crop_objects(
            args.json,
            args.images,
            args.output,
            margin=args.margin,
            background=not args.no_background,
            size=args.size,
            seed=args.seed,
        )
    except UserError as error:
        sys.exit(str(error))
    for name, count in counts.items():
        print(f"{count:7d}  {args.output}/{name}")


if __name__ == "__main__":
    main()
