"""The command line of prediction."""

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.utils.logger import setup_logger

from mvit_det.data.image_files import use_pictures
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, exit_on_user_error, shorten_list
from mvit_det.predict.arguments import argument_parser, parse_class_names, split_overrides
from mvit_det.predict.coco_ids import coco_ids
from mvit_det.predict.frames import predict_frames
from mvit_det.predict.key_frames import ActionRunner, ProposalRunner
from mvit_det.predict.person_boxes import box_threshold, person_boxes
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.run import Run
from mvit_det.predict.sources import Source, find_sources
from mvit_det.predict.spans import check_window, video_paths
from mvit_det.predict.windows import predict_windows
from mvit_det.predict.writers import make_folder, open_results

logger = logging.getLogger("mvit_det.predict")


def main(args: Namespace) -> int:
    """Predict, draw and write the results.

    Returns:
        Exit status: 0; 1 if an input is faulty; 128 + signal number if a signal stopped the run.

    Raises:
        UserError: options, config, weights and inputs do not fit each other, or cannot be read.
    """
    check_window(args.window)
    words, overrides = split_overrides(args.inputs)
    sources = find_sources(words, args.output)
    folder = Path(args.output)
    make_folder(folder)
    predictor = Predictor(
        args.config_file,
        args.weights,
        overrides=overrides,
        allow_targets=args.allow_target,
        device=args.device,
        precision=args.precision,
        score_threshold=box_threshold(args) if args.proposals else args.score_threshold,
        batch_size=args.batch_size,
        class_names=parse_class_names(args.class_names),
    )
    if args.window is not None and predictor.task.inputs != "videos":
        raise UserError(
            "--window needs a video classifier, which this config's model is not: drop it."
        )
    use_pictures(predictor.pictures)
    people = person_boxes(args, predictor)
    image_ids = use_coco_ids(args, predictor, sources) if args.ids_from else {}
    # the first Ctrl-C ends the loop and completes the files; a second one ends the run at once
    files = [source.path for source in sources]
    with StopRequest() as stop, open_results(folder, predictor, files) as results:
        results.image_ids = image_ids
        run = Run(predictor, results, stop)
        if predictor.task.inputs == "pictures" and people is None:
            predict_frames(run, sources)
        else:
            videos = video_paths(sources, run.add_fault)
            if people is None:
                predict_windows(run, videos, args.window)
            else:
                runner = ProposalRunner if args.proposals else ActionRunner
                runner(run, people).predict_videos(videos)
    logger.info(summary(run))
    return 128 + stop.requested if stop.requested else int(bool(run.faults))


def use_coco_ids(
    args: Namespace, predictor: Predictor, sources: Sequence[Source]
) -> dict[Path, Any]:
    """Give the predictor's classes the ids of --ids-from; return the id of each picture.

    Raises:
        UserError: the file, the inputs and the model do not fit each other.
    """
    if predictor.task.inputs != "pictures" or args.proposals:
        raise UserError("--ids-from is for models of pictures: drop it.")
    videos = [source.path for source in sources if source.fps is not None]
    if videos:
        raise UserError(
            f"--ids-from has the ids of pictures, but {shorten_list(videos)} is a video: leave it "
            "out, or drop --ids-from."
        )
    paths = [source.path for source in sources]
    ids, predictor.categories = coco_ids(args.ids_from, paths, predictor.categories)
    return ids


def summary(run: Run) -> str:
    """Summarize in one line which files and results were written."""
    results = run.results
    counts = {
        "annotated pictures": results.pictures,
        f"annotated videos ({results.frames} frames)": results.videos,
    }
    written = [f"{count} {what}" for what, count in counts.items() if count]
    written += [*results.csv_files, "predictions.json"]
    rows = run.predictor.inference.summary(results.rows)
    line = f"Wrote {', '.join(written)} and images.json to {results.folder}: {rows}."
    if run.faults:
        line += f" Faulty inputs: {len(run.faults)}, see above."
    if run.stop.requested:
        line += " Interrupted: the remaining inputs were not processed."
    return line


def run_command(arguments: Sequence[str], prog: str) -> int:
    """Run one command line, with ``prog`` as the program name, and return its exit status."""
    parser = argument_parser()
    parser.prog = prog
    args = parser.parse_intermixed_args(arguments)
    setup_logger(name="mvit_det")
    # hide the checkpointer's table of mismatches; the error that follows reports them
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with exit_on_user_error():
        return main(args)


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:], "python -m mvit_det.predict"))
