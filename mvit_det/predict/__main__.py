"""The command line of prediction."""

import logging
import sys
from argparse import Namespace
from pathlib import Path

from detectron2.utils.logger import setup_logger

from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, printable
from mvit_det.predict.arguments import argument_parser, class_names, split_overrides
from mvit_det.predict.clips import check_window, videos_of
from mvit_det.predict.frames import see_frames
from mvit_det.predict.people import ActionRunner
from mvit_det.predict.person_boxes import box_threshold, person_boxes
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.proposals import ProposalRunner
from mvit_det.predict.sources import find_sources
from mvit_det.predict.windows import see_videos
from mvit_det.predict.writers import Results, make_folder, open_results

logger = logging.getLogger("mvit_det.predict")


def main(args: Namespace) -> int:
    """Predict, draw and write; returns the exit status."""
    check_window(args.window)
    words, overrides = split_overrides(args.inputs)
    sources = find_sources(words, args.output)
    folder = Path(args.output)
    make_folder(folder)
    predictor = Predictor(
        args.config_file,
        args.weights,
        overrides=overrides,
        device=args.device,
        score_threshold=box_threshold(args) if args.proposals else args.score_threshold,
        batch_size=args.batch_size,
        class_names=class_names(args.class_names),
    )
    if args.window is not None and predictor.task.inputs != "videos":
        raise UserError(
            "--window is for classifiers of clips, and this config's model is none: drop it."
        )
    people = person_boxes(args, predictor)
    faults: dict[Path, str] = {}

    def report(path: Path, reason: str) -> None:
        if path not in faults:
            faults[path] = reason
            logger.warning("%s: %s", printable(path), reason)

    files = [source.path for source in sources]
    # the first Ctrl-C ends the loop, the files are finished; a second one ends the run at once
    opened = open_results(folder, predictor.inference, predictor.categories, files)
    with StopRequest() as stop, opened as results:
        if predictor.task.inputs == "videos":
            see_videos(predictor, videos_of(sources, report), args.window, results, report, stop)
        elif people is not None:
            over = ProposalRunner if args.proposals else ActionRunner
            over(predictor, people, results, stop).see(videos_of(sources, report), report)
        else:
            see_frames(predictor, sources, results, report, stop)
    logger.info(summary(results, predictor.inference.summary(results.rows), len(faults), stop.requested))
    return 128 + stop.requested if stop.requested else int(bool(faults))


def summary(results: Results, told: str, faults: int, stopped: int | None) -> str:
    """What was written, in one line."""
    counts = {
        "annotated pictures": results.pictures,
        f"annotated videos ({results.frames} frames)": results.videos,
    }
    written = [f"{count} {what}" for what, count in counts.items() if count]
    written += [*results.further, "predictions.json"]
    line = f"Wrote {', '.join(written)} and images.json to {results.folder}: {told}."
    if faults:
        line += f" Faulty inputs: {faults}, see above."
    return line + (" Interrupted: the rest was not looked at." if stopped else "")


if __name__ == "__main__":
    setup_logger(name="mvit_det")
    # the checkpointer's table of what does not fit; the error that follows says it
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    try:
        sys.exit(main(argument_parser().parse_intermixed_args()))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
