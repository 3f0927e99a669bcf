"""Accuracy on videos, averaged over several views, as an evaluator for Detectron2's test loop."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import Tensor

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.evaluator import ClassificationAccuracy
from mvit_det.evaluation.classification.examples import Example, with_prediction
from mvit_det.evaluation.classification.files import NAMED
from mvit_det.evaluation.classification.metrics import Predictions, best_classes, unique_names
from mvit_det.evaluation.example_selection import lowest_keys
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

    Views are the clips of a video, which are separate inputs, and the crops of each clip. Their
    order, batches and processes do not matter: the metrics are the same to the last bit. Unreadable
    clips are skipped, and so are videos without a readable clip; the log and `UnreadableImages`
    count both.

    The output folder gets ``video_scores.npz``, and for a test announced by `keep` also
    ``view_scores.npz`` (see `read_scores`); then accuracy by number of views is logged. The sheet
    of examples contains frames of the middle clip, in the middle crop.

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
        self._done: dict[Key, np.ndarray] = {}  # scores of a resumed test, from the store
        pixels: dict[str, Any] = {"pixel_mean": pixel_mean, "pixel_std": pixel_std}
        super().__init__(dataset_name, output_dir, **pixels, **options)

    def keep(
        self, items: Sequence[Mapping[str, Any]], test: Mapping[str, str], resume: bool
    ) -> Sequence[int]:
        """Announce a test whose scores are stored on disk while it runs, in all processes.

        Args:
            items: the dataset, dicts with "file_name", "label", "clip" and "clips".
            test: properties that identify the test, by name: weights, model, protocol.
            resume: continue the interrupted test in the folder, if it is the same.

        Returns:
            Indices of the dataset items that are still to be tested; all without a folder.

        Raises:
            UserError: the folder contains another test, or an unfinished one and ``resume`` is not
                set.
        """
        if self._folder is None:
            return range(len(items))
        keys = [clip_key(items[place]) for place in range(len(items))]
        # scores of different numbers of classes cannot be added
        test = {**test, "classes that compete": str(self._classes or "all")}
        self._store = ViewStore(self._folder, keys, comm.get_rank())
        remaining, fault = None, None
        if comm.is_main_process():
            try:
                stored = self._store.begin(test, resume)
                self._done = {keys[place]: scores for place, scores in stored.items()}
                # a clip that is in the dataset twice is tested once
                remaining = sorted(set(self._store.places.values()) - set(stored))
            except UserError as error:
                fault = str(error)
        remaining, fault = comm.all_gather((remaining, fault))[0]
        if fault is not None:
            raise UserError(fault)
        if len(remaining) < len(self._store.places):
            logger.info("Resuming the test in %s: %s.", self._store.folder, self.progress())
        return remaining

    def progress(self) -> str | None:
        """Describe how much of an announced test is on disk; None without records."""
        return self._store.progress() if self._store and self._store.count() else None

    def reset(self) -> None:
        """Forget all scores except those of a resumed test."""
        super().reset()
        self._sums = ViewSums()
        for (file_name, label, clip, clips), scores in self._done.items():
            self._sums.expect((file_name, label), clips)
            self._sums.add((file_name, label), clip, scores)
            self._count_evaluated(scores.shape[1])

    def process(self, inputs: dict[str, Any], outputs: Tensor) -> None:
        """Add a batch of B clips with V crops each.

        Args:
            inputs: "inputs" (B, V, 3, T, H, W) normalized RGB, "labels" (B,) int64, "file_name", a
                list that identifies the videos, "clip" and "clips" (B,): index and number of clips
                of the video; optionally "unreadable", a list with None for each readable clip.
            outputs: probabilities (B, V, K), or (B, K) for one view of each.

        Raises:
            UserError: shapes or labels do not match, or scores are not probabilities.
        """
        scores, several = outputs.float().cpu(), outputs.ndim == 3
        rows, files, _, scores = self._valid_inputs(inputs, scores if several else scores[:, None])
        self._check_probabilities(files, scores)
        keys = _keys(inputs)
        for file_name, label, _, clips in keys:
            self._sums.expect((file_name, label), clips)
        keys = [keys[row] for row in rows]
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
            self._offer((views[row] for row in rows), keys, scores)

    def _check_probabilities(self, files: list[str], scores: Tensor) -> None:
        """Check that scores (n, V, K) are from 0 to 1."""
        outside = (scores < -_SLACK) | (scores > 1 + _SLACK)
        if outside.any():
            row = int(outside.flatten(1).any(dim=1).int().argmax())
            raise UserError(
                f"The scores of {files[row]} are from {scores[row].min():.3g} to "
                f"{scores[row].max():.3g}, but views are averaged as probabilities, from 0 to 1: "
                "the model must end in a softmax when it is evaluated."
            )

    def _offer(self, clips: Iterable[Tensor], keys: list[Key], scores: Tensor) -> None:
        """Offer middle clips (3, T, H, W) for the sheet, by the prediction for the clip alone."""
        best, classes = best_classes(scores.mean(dim=1), 1)
        rows = zip(clips, keys, classes[:, 0].tolist(), best[:, 0].tolist())
        for pixels, (file_name, label, clip, count), predicted, score in rows:
            if clip == count // 2:
                self._examples.offer(pixels, file_name, label, predicted, score)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the metrics of `ClassificationAccuracy.evaluate`, for videos."""
        examples = self._examples
        part = (self._names, self._sums, examples.correct, examples.wrong)
        gathered = comm.gather(part, dst=0)
        if not comm.is_main_process():
            return {}
        names, sums, correct, wrong = zip(*gathered)
        total = ViewSums()
        duplicates = sum(total.merge(part) for part in sums)
        clips = self._log_counts(total, duplicates)
        if not clips:
            if self._store is not None:
                self._store.remove()
            return self._no_results()
        videos, views, means = total.means()
        class_names = unique_names(next(filter(None, names)))
        file_name = np.array([name for name, _ in videos], np.str_)
        label = np.array([label for _, label in videos], np.int32)
        predictions = predictions_of_videos(class_names, file_name, label, means)
        candidates = (lowest_keys(chain(*kept), examples.count, 2) for kept in (correct, wrong))
        metrics = self._report(predictions, *_split_by_outcome(predictions, chain(*candidates)))
        if self._dump:
            # In the order of the dataset, in which samplers give the clips to the processes.
            listed = [key[:2] for key in self._store.keys] if self._store is not None else total
            place = {video: index for index, video in enumerate(dict.fromkeys(listed))}
            order = np.argsort([place[video] for video in videos])
            self._write_dump(self._dump, file_name[order], label[order], means[order])
        if self._folder is not None:
            columns = (np.array(class_names, np.str_), file_name, label)
            arrays: dict[str, Any] = dict(zip(NAMED, columns))
            path = self._folder / VIDEOS
            with log_write_errors("Scores of videos", path):
                write_arrays(path, **arrays, views=views, scores=means)
            if self._store is not None:
                self._save_views(self._store, self._folder / VIEWS, arrays, clips)
        return metrics

    def _log_counts(self, total: ViewSums, duplicates: int) -> int:
        """Log what is left out or counts twice; return the number of clips that count."""
        counts = [(len(video.clips), video.expected) for video in total.values()]
        unreadable = sum(count == 0 for count, _ in counts)
        incomplete = sum(0 < count < expected for count, expected in counts)
        if duplicates:
            logger.warning(
                "%d clips were tested by several processes and count repeatedly: use a sampler "
                "that gives each clip to one process, such as Detectron2's InferenceSampler.",
                duplicates,
            )
        if unreadable or incomplete:
            logger.warning(
                "%d of %d videos have no readable clip and are left out of the accuracy; %d more "
                "lack some clips and count by the remaining ones.",
                *(unreadable, len(total), incomplete),
            )
        # listed but not on disk: skipped when the dataset was built
        metadata: Any = MetadataCatalog.get(self._dataset_name) if self._dataset_name else {}
        if missing := metadata.get("missing_videos", 0):
            logger.warning(
                "The accuracy covers %d of the %d videos of %s: %d files are missing.",
                *(len(total), len(total) + missing, self._dataset_name, missing),
            )
        return sum(count for count, _ in counts)

    def _save_views(self, store: ViewStore, path: Path, arrays: dict[str, Any], clips: int) -> None:
        """Write the scores of single views if all ``clips`` are on disk; else keep the records."""
        videos = zip(arrays["file_name"].tolist(), arrays["label"].tolist())
        scores, stored = store.views(list(videos))
        if stored < clips:
            logger.error(
                "%s is not written: the scores of %d of %d clips are not in %s. Free some space; "
                "then --eval-only --resume computes only these, and writes it.",
                *(path, clips - stored, clips, store.folder),
            )
            return
        with log_write_errors("Scores of single views (--eval-only --resume rewrites them)", path):
            write_arrays(path, **arrays, scores=scores)
            log_by_views(scores, arrays["label"])
            self._store, self._done = None, {}  # Windows removes no file that is mapped
            store.remove()


def _keys(batch: dict[str, Any]) -> list[Key]:
    """Identify the clip of each input of a batch."""
    names = [name for name in ("clip", "clips") if name in batch]
    columns = [batch["file_name"], *(batch[name].tolist() for name in ("labels", *names))]
    return [clip_key(dict(zip(("file_name", "label", *names), row))) for row in zip(*columns)]


def _split_by_outcome(
    predictions: Predictions, candidates: Iterable[Example]
) -> tuple[list[Example], list[Example]]:
    """Split examples into correct and wrong ones by the predictions of whole videos."""
    videos = zip(predictions.file_name.tolist(), predictions.label.tolist())
    best = zip(predictions.classes[:, 0].tolist(), predictions.scores[:, 0].tolist())
    results = dict(zip(videos, best))
    examples = [with_prediction(item, *results[item.file_name, item.label]) for item in candidates]
    correct = [item for item in examples if item.predicted == item.label]
    return correct, [item for item in examples if item.predicted != item.label]
