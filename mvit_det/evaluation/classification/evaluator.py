"""Accuracy of a classifier, as an evaluator for Detectron2's test loop."""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from mvit_det.errors import UserError, check_count, not_finite
from mvit_det.evaluation.classification.dump import check_dump, write_dump
from mvit_det.evaluation.classification.examples import Example, Examples, draw_sheet
from mvit_det.evaluation.classification.files import save_predictions
from mvit_det.evaluation.classification.metrics import Predictions, best_classes, unique_names
from mvit_det.evaluation.classification.report import PREDICTIONS, report_classes
from mvit_det.evaluation.example_selection import lowest_keys
from mvit_det.evaluation.writing import log_write_errors

logger = logging.getLogger(__name__)


class ClassificationAccuracy(DatasetEvaluator):
    """Computes top-1 and top-5 accuracy, also by class, from scores (B, K).

    An image counts for top-1 if its class has the highest score, for top-5 if it is among the five
    highest; among equal scores the lower class index comes first. With five classes or fewer top-5
    is always 100. Images that could not be read (`UnreadableImages` counts them) are skipped. The
    predictions of all processes count; an image that several processes evaluate (samplers pad)
    counts once. Only the main process returns results.

    Args:
        dataset_name: a registered dataset whose metadata have ``thing_classes``, the names of the
            classes; used if ``class_names`` is None. Without either, names are class indices.
        output_dir: gets ``classification_predictions.npz`` (each image with its label, its five
            best classes and their scores), ``class_accuracy.csv``, and in ``pictures/`` accuracy by
            class, the confusion matrix and a sheet of examples.
        class_names: in the order of the model's outputs.
        classes: evaluate only the first outputs of the model, this many; by default all. The 19168
            outputs of the published ImageNet-21K models begin with the 1000 classes of ImageNet-1K.
        num_examples: number of correct and of wrong images on the sheet.
        dump: file that gets the scores of all images, in the order of the dataset, for MMAction2's
            and MMPretrain's tools (`write_dump`); 4 bytes of memory per image and class.
        pixel_mean: subtracted from the model's inputs, RGB from 0 to 1; for the sheet only.
        pixel_std: divisor of the model's inputs, RGB; for the sheet only.

    Raises:
        UserError: a count is not a whole number of at least 1, or ``dump`` does not end in .pkl or
            .pickle.
    """

    # what is counted, and the number of axes of its scores
    KIND, AXES = "images", 2

    def __init__(
        self,
        dataset_name: str | None = None,
        output_dir: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        classes: int | None = None,
        num_examples: int = 12,
        dump: str | None = None,
        pixel_mean: Sequence[float] = (0.485, 0.456, 0.406),
        pixel_std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        counts = {} if classes is None else {"classes": classes}
        check_count(type(self).__name__, num_examples=num_examples, **counts)
        if dump is not None:
            check_dump(dump)
        self._dataset_name = dataset_name
        self._class_names = class_names
        self._folder = Path(output_dir) if output_dir is not None else None
        self._classes = classes
        self._dump = Path(dump) if dump is not None else None
        self._new_examples = lambda: Examples(num_examples, pixel_mean, pixel_std)
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._names: list[str] | None = None
        self._files: list[str] = []
        # NOTE: one growing buffer each. Many small arrays, allocated between the large ones of the
        # batches, would fragment the memory: gigabytes for 19168 classes.
        # Labels, best classes, their scores; and for a dump all scores.
        self._columns = (bytearray(), bytearray(), bytearray(), bytearray())
        self._examples = self._new_examples()

    def process(self, inputs: dict[str, Any], outputs: Tensor) -> None:
        """Add a batch of B images.

        Args:
            inputs: "inputs" (B, 3, H, W) normalized RGB, "labels" (B,) int64, "file_name", a list
                that identifies the images, and optionally "unreadable", a list with None for each
                readable image.
            outputs: (B, K) scores; the highest is the prediction.

        Raises:
            UserError: shapes, labels or the number of classes do not match, or a score is not
                finite.
        """
        rows, files, labels, scores = self._valid_inputs(inputs, outputs.float().cpu())
        best, classes = best_classes(scores)
        columns = (labels.int(), classes.int(), best, *([scores] if self._dump else []))
        for buffer, values in zip(self._columns, columns):
            buffer += values.numpy().tobytes()
        self._files += files
        if self._folder is not None:
            first = zip(files, labels.tolist(), classes[:, 0].tolist(), best[:, 0].tolist())
            for row, example in zip(rows, first):
                self._examples.offer(inputs["inputs"][row], *example)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return {"classification": {"top1", "top5", "mean_class_accuracy", "top1-<class>"}}.

        All are in percent; "top1-<class>" is NaN without images, and absent if there are more than
        100 classes. Without a readable image the result is empty.
        """
        examples = self._examples
        part = (self._names, self._files, self._columns, examples.correct, examples.wrong)
        gathered = comm.gather(part, dst=0)
        if not comm.is_main_process():
            return {}
        gathered = [part for part in gathered if part[1]]
        if not gathered:
            return self._no_results()
        names, files, columns, correct, wrong = zip(*gathered)
        file_name = np.array(list(chain(*files)), np.str_)
        label, classes, best, scores = (b"".join(parts) for parts in zip(*columns))
        predictions = Predictions(
            unique_names(names[0]),
            file_name,
            np.frombuffer(label, np.int32),
            np.frombuffer(classes, np.int32).reshape(len(file_name), -1),
            np.frombuffer(best, np.float32).reshape(len(file_name), -1),
        )
        rows = predictions.unique_rows()
        if self._dump:
            order = np.sort(rows)  # that of the dataset
            table = np.frombuffer(scores, np.float32).reshape(len(file_name), -1)
            self._write_dump(self._dump, file_name[order], predictions.label[order], table[order])
        return self._report(predictions.select(rows), list(chain(*correct)), list(chain(*wrong)))

    def _write_dump(self, path: Path, *columns: np.ndarray) -> None:
        """Write file names (N,), labels (N,) and scores (N, K) with `write_dump`."""
        with log_write_errors(f"Scores of {len(columns[0])} {self.KIND}", path):
            write_dump(path, *columns)

    def _no_results(self) -> dict[str, dict[str, float]]:
        logger.warning("%s received no readable %s.", type(self).__name__, self.KIND[:-1])
        return {}

    def _report(
        self, predictions: Predictions, correct: list[Example], wrong: list[Example]
    ) -> dict[str, dict[str, float]]:
        """Write files and pictures, log tables, and return the metrics, on the main process."""
        if self._folder is not None:
            path = self._folder / PREDICTIONS
            with log_write_errors("Predictions", path):
                save_predictions(path, predictions)
            path = self._folder / "pictures" / "overview.png"
            if correct or wrong:
                count = self._examples.count
                correct, wrong = lowest_keys(correct, count, 2), lowest_keys(wrong, count, 2)
                with log_write_errors("Examples", path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    draw_sheet(correct, wrong, predictions.names).save(path)
        return report_classes(predictions, self._folder)

    def _valid_inputs(
        self, inputs: dict[str, Any], scores: Tensor
    ) -> tuple[list[int], list[str], Tensor, Tensor]:
        """Return batch indices, files, labels (n,), and scores (n, ..., K) of readable inputs."""
        reasons = inputs.get("unreadable") or [None] * len(inputs["file_name"])
        labels, shape = inputs["labels"].cpu(), scores.shape
        if len(shape) != self.AXES or shape[0] != len(reasons) or labels.shape != shape[:1]:
            raise UserError(
                f"The model returns scores of shape {tuple(shape)} for {len(reasons)} {self.KIND} "
                f"with labels of shape {tuple(labels.shape)}: one row of scores and one class "
                f"index per {self.KIND[:-1]} are needed (mixed labels are for training only)."
            )
        rows = [row for row, reason in enumerate(reasons) if reason is None]
        scores, labels = scores[rows, ..., : self._count_evaluated(shape[-1])], labels[rows]
        files = [inputs["file_name"][row] for row in rows]
        self._check(files, labels, scores)
        return rows, files, labels, scores

    def _count_evaluated(self, outputs: int) -> int:
        """Return the number of evaluated outputs, and store the names of their classes."""
        if self._classes is not None and self._classes > outputs:
            raise UserError(
                f"classes={self._classes} cannot be evaluated, as the model has {outputs} outputs: "
                "lower `classes` of ClassificationAccuracy."
            )
        count = self._classes or outputs
        names = self._class_names
        if names is None and self._dataset_name is not None:
            names = MetadataCatalog.get(self._dataset_name).get("thing_classes", None)
        if names is not None and len(names) != count:
            raise UserError(
                f"{count} outputs of the model are evaluated, but the dataset has {len(names)} "
                "classes: set num_classes of the model to that, or `classes` of "
                "ClassificationAccuracy if the first outputs are these classes."
            )
        self._names = list(map(str, range(count) if names is None else names))
        return count

    def _check(self, files: list[str], labels: Tensor, scores: Tensor) -> None:
        """Check the range of labels (n,), and that scores (n, ..., K) are finite."""
        invalid = (labels < 0) | (labels >= scores.shape[-1])
        if invalid.any():
            row = int(invalid.int().argmax())
            raise UserError(
                f"The label of {files[row]} is {labels[row].item()}, but labels must be from 0 to "
                f"{scores.shape[-1] - 1}: correct the dataset or the number of classes."
            )
        invalid = ~torch.isfinite(scores).flatten(1).all(dim=1)
        if invalid.any():
            raise not_finite(f"The scores of {files[int(invalid.int().argmax())]}")
