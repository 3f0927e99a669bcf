"""Accuracy on videos tested with several views each, as an evaluator for Detectron2's loop."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import Tensor

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.evaluator import ClassificationAccuracy
from mvit_det.evaluation.classification.examples import Example, first_of, with_prediction
from mvit_det.evaluation.classification.metrics import Predictions, best_classes, unique_names
from mvit_det.evaluation.video.files import VIDEOS, VIEWS, predictions_of_videos
from mvit_det.evaluation.video.report import log_by_views
from mvit_det.evaluation.video.store import Key, ViewStore, clip_key
from mvit_det.evaluation.video.sums import ViewSums
from mvit_det.evaluation.writing import log_write_errors, write_arrays

logger = logging.getLogger(__name__)

# tolerance for probabilities outside [0, 1] due to rounding
_SLACK = 1e-3


class ViewAccuracy(ClassificationAccuracy):
    """`ClassificationAccuracy` for videos, by the mean probability of all their views.

    Views are the clips of a video, which are separate inputs, and the crops of each clip. They may
    come in any order, in any batches and processes: the metrics are the same to the last bit. Clips
    that could not be read are skipped, and so are videos without any readable clip; the log counts
    both, and so does `UnreadableImages`.

    The output folder gets ``video_scores.npz``, and for a test announced by `keep` also
    ``view_scores.npz`` (see `read_scores`), from which accuracy by number of views is logged. The
    sheet of examples shows frames of the middle clip, in the middle crop.

    Args:
        dataset_name: as for `ClassificationAccuracy`.
        output_dir: as for `ClassificationAccuracy`.
        pixel_mean: RGB from 0 to 1; by default that of the released video models.
        pixel_std: RGB; by default that of the released video models.
        **options: as for `ClassificationAccuracy`.
    """

    KIND, AXES = "videos", 3

    def __init__(
        self,
        dataset_name: str | None = None,
        output_dir: str | None = None,
        *,
        pixel_mean: Sequence[float] = (0.45, 0.45, 0.45),
        pixel_std: Sequence[float] = (0.225, 0.225, 0.225),
        **options: Any,
    ) -> None:
        self._store: ViewStore | None = None
        self._done: dict[int, np.ndarray] = {}  # from the store: tested by earlier starts
        pixels: dict[str, Any] = {"pixel_mean": pixel_mean, "pixel_std": pixel_std}
        super().__init__(dataset_name, output_dir, **pixels, **options)

    def keep(
        self, items: Sequence[Mapping[str, Any]], test: Mapping[str, str], resume: bool
    ) -> Sequence[int]:
        """Announce a test whose scores are kept on disk as it runs; all processes call this first.

        Args:
            items: the dataset, dicts with "file_name", "label", "clip" and "clips".
            test: what else identifies this test, by name: weights, model, protocol.
            resume: continue the test that the folder holds, if it is this one.

        Returns:
            Indices into the dataset of what is still to be tested; all without a folder.

        Raises:
            UserError: the folder holds another test, or an unfinished one and ``resume`` is not
                set.
        """
        if self._folder is None:
            return range(len(items))
        keys = [clip_key(items[place]) for place in range(len(items))]
        # scores of different numbers of classes cannot be added
        test = {**test, "classes that compete": str(self._classes or "all")}
        self._store = ViewStore(self._folder, keys, comm.get_rank())
        left, fault = None, None
        if comm.is_main_process():
            try:
                self._done = self._store.begin(test, resume)
                # a clip that is in the dataset twice is tested once
                left = sorted(set(self._store.places.values()) - set(self._done))
            except UserError as error:
                fault = str(error)
        left, fault = comm.all_gather((left, fault))[0]
        if fault is not None:
            raise UserError(fault)
        if len(left) < len(self._store.places):
            logger.info("Going on with the test in %s: %s.", self._store.folder, self.progress())
        return left

    def progress(self) -> str | None:
        """Describe how much of an announced test is on disk; None if nothing is."""
        return self._store.progress() if self._store and self._store.count() else None

    def reset(self) -> None:
        """Forget all scores but those of a resumed test."""
        super().reset()
        self._sums = ViewSums()
        for place, scores in self._done.items():
            file_name, label, clip, clips = self._store.keys[place]
            self._sums.expect((file_name, label), clips)
            self._sums.add((file_name, label), clip, scores)
            self._count_competing(scores.shape[1])

    def process(self, inputs: dict[str, Any], outputs: Tensor) -> None:
        """Add a batch of B clips with V crops each.

        Args:
            inputs: "inputs" (B, V, 3, T, H, W), "labels" (B,), "file_name", a list that identifies
                the videos, "clip" and "clips" (B,): index and number of clips of the video;
                optionally "unreadable", a list with None for each clip that could be read.
            outputs: probabilities (B, V, K), or (B, K) for one view of each.

        Raises:
            UserError: shapes or labels do not match, or scores are not probabilities.
        """
        scores, several = outputs.float().cpu(), outputs.ndim == 3
        sound, files, _, scores = self._readable_inputs(inputs, scores if several else scores[:, None])
        self._check_probabilities(files, scores)
        keys = _keys(inputs)
        for file_name, label, _, clips in keys:
            self._sums.expect((file_name, label), clips)
        keys = [keys[index] for index in sound]
        new = [
            row
            for row, (file_name, label, clip, _) in enumerate(keys)
            if self._sums.add((file_name, label), clip, scores[row].numpy())
        ]
        if self._store is not None and new:
            self._store.append([keys[row] for row in new], scores[new].numpy())
        if self._folder is not None:
            views = inputs["inputs"]
            if several or views.ndim == 6:
                views = views[:, views.shape[1] // 2]
            self._offer((views[index] for index in sound), keys, scores)

    def _check_probabilities(self, files: list[str], scores: Tensor) -> None:
        outside = (scores < -_SLACK) | (scores > 1 + _SLACK)
        if outside.any():
            row = int(outside.flatten(1).any(dim=1).int().argmax())
            raise UserError(
                f"The scores of {files[row]} are from {scores[row].min():.3g} to "
                f"{scores[row].max():.3g}, and views are averaged as probabilities, from 0 to 1: "
                "the model must end in a softmax when it is evaluated."
            )

    def _offer(self, clips: Iterable[Tensor], keys: list[Key], scores: Tensor) -> None:
        """Offer middle clips for the sheet, by the prediction for that clip alone."""
        best, classes = best_classes(scores.mean(dim=1), 1)
        rows = zip(clips, keys, classes[:, 0].tolist(), best[:, 0].tolist())
        for pixels, (file_name, label, clip, count), predicted, score in rows:
            if clip == count // 2:
                self._examples.offer(pixels, file_name, label, predicted, score)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return what `ClassificationAccuracy.evaluate` does, for videos."""
        examples = self._examples
        part = (self._names, self._sums, examples.right, examples.wrong)
        gathered = comm.gather(part, dst=0)
        if not comm.is_main_process():
            return {}
        names, sums, right, wrong = zip(*gathered)
        total = ViewSums()
        twice = sum(total.merge(part) for part in sums)
        clips = self._log_counts(total, twice)
        if not clips:
            if self._store is not None:
                self._store.remove()
            return self._no_results()
        videos, views, means = total.means()
        named = dict(
            class_names=np.array(unique_names(next(filter(None, names))), np.str_),
            file_name=np.array([name for name, _ in videos], np.str_),
            label=np.array([label for _, label in videos], np.int32),
        )
        predictions = predictions_of_videos(*named.values(), means)
        candidates = (first_of(chain(*kept), examples.count) for kept in (right, wrong))
        numbers = self._report(predictions, *_split_by_outcome(predictions, chain(*candidates)))
        if self._folder is not None:
            path = self._folder / VIDEOS
            with log_write_errors("Scores of videos", path):
                write_arrays(path, **named, views=views, scores=means)
        if self._store is not None:
            self._save_views(named, videos, clips)
        return numbers

    def _log_counts(self, total: ViewSums, twice: int) -> int:
        """Log what does not count, or counts twice; return the number of clips that count."""
        found = [(len(one.clips), one.expected) for one in total.values()]
        unread = sum(count == 0 for count, _ in found)
        incomplete = sum(0 < count < expected for count, expected in found)
        if twice:
            logger.warning(
                "%d clips were tested by more than one process and count so often: use a sampler "
                "that gives each to one, as Detectron2's InferenceSampler.",
                twice,
            )
        if unread or incomplete:
            logger.warning(
                "Of %d videos %d have no clip that could be read and are left out of the accuracy; "
                "%d more lack some clips and count by the others.",
                *(len(total), unread, incomplete),
            )
        metadata = MetadataCatalog.get(self._dataset_name) if self._dataset_name else {}
        # listed but not on disk: skipped when the dataset was built
        if missing := metadata.get("missing_videos", 0):
            logger.warning(
                "The accuracy covers %d of the %d videos of %s: the other %d are not there.",
                *(len(total), len(total) + missing, self._dataset_name, missing),
            )
        return sum(count for count, _ in found)

    def _save_views(
        self, named: Mapping[str, np.ndarray], videos: Sequence[tuple[str, int]], clips: int
    ) -> None:
        """Write the scores of single views if all ``clips`` are on disk; else keep the records."""
        path = self._folder / VIEWS
        scores, stored = self._store.views(videos)
        if stored < clips:
            logger.error(
                "%s is not written: the scores of %d of %d clips are not in %s. With room, "
                "--eval-only --resume computes these alone, and writes it.",
                *(path, clips - stored, clips, self._store.folder),
            )
            return
        with log_write_errors("Scores of single views (--eval-only --resume writes them anew)", path):
            write_arrays(path, **named, scores=scores)
            log_by_views(scores, named["label"])
            self._store.remove()
            self._store, self._done = None, {}


def _keys(batch: dict[str, Any]) -> list[Key]:
    """Identify the clip of each input of a batch."""
    names = [name for name in ("clip", "clips") if name in batch]
    columns = [batch["file_name"], *(batch[name].tolist() for name in ("labels", *names))]
    return [clip_key(dict(zip(("file_name", "label", *names), row))) for row in zip(*columns)]


def _split_by_outcome(
    predictions: Predictions, candidates: Iterable[Example]
) -> tuple[list[Example], list[Example]]:
    """Split examples into correct and wrong ones by the predictions for whole videos."""
    videos = zip(predictions.file_name.tolist(), predictions.label.tolist())
    best = zip(predictions.classes[:, 0].tolist(), predictions.scores[:, 0].tolist())
    found = dict(zip(videos, best))
    examples = [with_prediction(one, *found[one.file_name, one.label]) for one in candidates]
    right = [one for one in examples if one.predicted == one.label]
    return right, [one for one in examples if one.predicted != one.label]
