"""The command line of prediction."""

import logging
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

# OpenCV's decoders write their own complaints to stderr; ours say the same in a sentence.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

from detectron2.utils.logger import setup_logger
from mvit_det.data.videos import VideoError
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError
from mvit_det.predict.clips import (
    ClipClassification,
    Shown,
    Span,
    check_window,
    in_order,
    parts,
    span_at,
    table,
    videos_of,
)
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.progress import Progress
from mvit_det.predict.sources import Frame, Picture, Video, find_sources, playable, stream
from mvit_det.predict.writers import Results, make_folder, open_results

logger = logging.getLogger("mvit_det.predict")


def argument_parser() -> ArgumentParser:
    """See ``python -m mvit_det.predict --help``."""
    parser = ArgumentParser(
        prog="python -m mvit_det.predict",
        description="Detect objects in pictures and videos, or classify them, with the model of any "
        "config; one of clips tells the classes of whole videos. Writes annotated pictures and "
        "videos, predictions.json (COCO's result format, or the best classes of each) and "
        "images.json (which image_id is which file and frame, and the categories).",
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="a .py, or the config.yaml of a run"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="or the name of published weights; model_best.pth or else model_final.pth of the "
        "config's run unless given",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="made if it is not there")
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="S",
        help="detections of a lower score are neither drawn nor written; 0.5 unless given (of a "
        "classifier the five best classes are, whatever their score)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="images, or clips of a video, at once",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; the config's unless given")
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="classify videos window by window, for models of clips; whole videos unless given. Each "
        "window gets as many clips as the config tests a video with (dataloader.test.dataset.clips)",
    )
    parser.add_argument(
        "--class-names",
        metavar="NAMES",
        help="a,b,c, or a file with one per line, or a COCO .json; where the config does not tell",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="input",
        help="pictures, videos, folders (with those below) and quoted glob patterns; for models of "
        "clips, several pictures of a folder are the frames of one video; then key=value changes to "
        "the config",
    )
    return parser


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell inputs from ``key=value`` overrides; a file of such a name is an input."""
    overrides = [w for w in words if re.match(r"[+~]*[A-Za-z_][\w.]*=", w) and not Path(w).exists()]
    inputs = [word for word in words if word not in overrides]
    if not inputs:
        raise UserError("No input was given: name pictures, videos, folders or glob patterns.")
    return inputs, overrides


def class_names(text: str | None) -> list[str] | str | None:
    """The value of --class-names for `Predictor`."""
    if text is None or Path(text).is_file() or text.endswith((".json", ".txt")):
        return text
    return [name.strip() for name in text.split(",")]


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
        score_threshold=args.score_threshold,
        batch_size=args.batch_size,
        class_names=class_names(args.class_names),
    )
    if args.window is not None and not isinstance(predictor.task, ClipClassification):
        raise UserError(
            "--window is for models of clips, and this config's takes pictures: drop it."
        )
    faults: dict[Path, str] = {}

    def report(path: Path, reason: str) -> None:
        if path not in faults:
            faults[path] = reason
            logger.warning("%s: %s", path, reason)

    files = [source.path for source in sources]
    # the first Ctrl-C ends the loop, the files are finished; a second one ends the run at once
    opened = open_results(folder, predictor.task, predictor.categories, files)
    with StopRequest() as stop, opened as results:
        if isinstance(predictor.task, ClipClassification):
            videos, pictures = videos_of(sources)
            for path in pictures:
                report(path, "a picture, and this config's model takes videos")
            see_videos(predictor, videos, args.window, results, report, stop)
        else:
            see_frames(predictor, sources, results, report, stop)
    logger.info(summary(results, predictor.task.told(results.rows), len(faults), stop.requested))
    return 128 + stop.requested if stop.requested else int(bool(faults))


def see_frames(
    predictor: Predictor,
    sources: Sequence[Picture | Video],
    results: Results,
    report: Callable[[Path, str], None],
    stop: StopRequest,
) -> None:
    """Each picture, and each frame of each video."""
    counts = [source.count for source in sources]
    progress = Progress(sum(counts) if all(counts) else 0)
    frames = stream(sources, report)
    while not stop.requested and (batch := list(islice(frames, predictor.batch_size))):
        for frame, result in zip(batch, predict(predictor, batch, report)):
            if result is not None:
                results.add(frame, result)
        progress.update(len(batch))


def see_videos(
    predictor: Predictor,
    paths: Sequence[Path],
    window: float | None,
    results: Results,
    report: Callable[[Path, str], None],
    stop: StopRequest,
) -> None:
    """Each video as a whole, or window by window."""
    for path in paths:
        if stop.requested:
            return
        try:
            with predictor.task.open(path) as video:
                see_video(predictor, path, video, window, results, stop)
        except (VideoError, UserError) as error:
            report(path, str(error))


def see_video(
    predictor: Predictor,
    path: Path,
    video: Any,
    window: float | None,
    results: Results,
    stop: StopRequest,
) -> None:
    """Classify an opened video, then annotate it; what is known when that fails or ends is kept."""
    spans: list[Span] = []
    fault = None
    progress = Progress(len(parts(video.times, video.fps, window)), unit="windows")
    try:
        for span in predictor.spans(video, window):
            spans.append(span)
            progress.update(1)
            if stop.requested:
                break
    except (VideoError, UserError) as error:
        if not spans:
            raise
        fault = error
    logger.info("%s\n%s", path, table(spans, predictor.categories))
    source, shown = Shown(path, playable(video.fps)), None
    known = spans[-1].frames.stop
    progress = Progress(known, unit="frames")
    try:
        for index, image in enumerate(in_order(video, known)):
            shown = Frame(source, index, image)
            results.show(shown, span_at(spans, index).scores)
            progress.update(1)
            if stop.requested:
                break
    finally:
        if shown:
            results.note(shown, spans, frames=len(video), seconds=round(spans[-1].end, 6))
    if fault is not None:
        raise fault


def predict(
    predictor: Predictor, batch: list[Frame], report: Callable[[Path, str], None]
) -> list[Any | None]:
    """The result of each frame; None, and a report, where the model cannot take it."""
    try:
        return predictor([frame.image for frame in batch])
    except UserError as error:
        if len(batch) == 1:
            report(batch[0].source.path, str(error))
            return [None]
    return [result for frame in batch for result in predict(predictor, [frame], report)]


def summary(results: Results, told: str, faults: int, stopped: int | None) -> str:
    """What was written, in one line."""
    counts = {
        "annotated pictures": results.pictures,
        f"annotated videos ({results.frames} frames)": results.videos,
    }
    written = [f"{count} {what}" for what, count in counts.items() if count]
    line = (
        f"Wrote {', '.join([*written, 'predictions.json'])} and images.json to {results.folder}: "
        f"{told}."
    )
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
