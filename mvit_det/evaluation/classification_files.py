"""The files of a classifier's evaluation: predictions of all images, and a table of all classes."""

import csv
import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mvit_det.errors import UserError
from mvit_det.evaluation.classification_metrics import Accuracy, Predictions
from mvit_det.evaluation.writing import write_whole

# columns of the file, with the number of their axes and the kind of their values
_COLUMNS = {
    "class_names": (1, "U"),
    "file_name": (1, "U"),
    "label": (1, "i"),
    "top_classes": (2, "i"),
    "top_scores": (2, "f"),
}


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write arrays for `numpy.load`: by image ``file_name``, ``label``, ``top_classes``,
    ``top_scores`` (best first), and by class ``class_names``."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        class_names=np.array(predictions.names, np.str_),
        file_name=np.asarray(predictions.file_name, np.str_),
        label=predictions.label.astype(np.int32),
        top_classes=predictions.classes.astype(np.int32),
        top_scores=predictions.scores.astype(np.float32),
    )
    write_whole(path, content.getvalue())


def read_predictions(path: str | os.PathLike) -> Predictions:
    """Read what `save_predictions` wrote; nothing in the file is executed.

    Raises:
        UserError: the file is absent, no such file, damaged, or its columns do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in _COLUMNS}
    except FileNotFoundError as error:
        raise UserError(
            f"Prediction file {path} does not exist (looked from {os.getcwd()}): correct the path."
        ) from error
    except KeyError as error:
        raise UserError(f"{path} lacks what a file of predictions has: {error.args[0]}.") from error
    # a lone array has no names, and gives an AttributeError or a TypeError
    except (
        *(OSError, ValueError, EOFError, AttributeError, TypeError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError),
    ) as error:
        raise UserError(
            f"{path} cannot be read as a file of predictions ({type(error).__name__}): give the path "
            "of a classification_predictions.npz, or write it anew."
        ) from error
    fault = _fault(columns)
    if fault:
        raise UserError(f"{path} is no sound file of predictions: {fault}; write it anew.")
    return Predictions(columns["class_names"].tolist(), *list(columns.values())[1:])


def _fault(columns: dict[str, np.ndarray]) -> str | None:
    for name, (axes, kind) in _COLUMNS.items():
        column = columns[name]
        if column.ndim != axes or column.dtype.kind != kind:
            return f"its {name} is {column.dtype} of shape {column.shape}"
    names, file_name, label, classes, scores = columns.values()
    if not len(file_name) == len(label) == len(classes) or classes.shape != scores.shape:
        return f"it has {len(file_name)} file names, {len(label)} labels, {classes.shape} classes"
    if not len(label) or not classes.shape[1]:
        return "it has no predictions"
    if len(set(names.tolist())) < len(names):
        return "two classes have one name"
    for name, values in (("label", label), ("top_classes", classes)):
        if values.min() < 0 or values.max() >= len(names):
            return f"its {name} are from {values.min()} to {values.max()}, of {len(names)} classes"
    return None if np.isfinite(scores).all() else "it has scores that are no finite numbers"


def save_classes(path: Path, predictions: Predictions, accuracy: Accuracy) -> None:
    """Write a table (CSV) of all classes: images, accuracy, and what each is most taken for."""
    true, predicted, count = predictions.mistakes()
    # pairs come the most frequent first, so the first of a class is its worst
    classes, first = np.unique(true, return_index=True)
    worst = {k: (predictions.names[predicted[i]], count[i]) for k, i in zip(classes, first)}
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["number", "class", "images", "top1", "top5", "most_taken_for", "times"])
    columns = zip(predictions.names, accuracy.images, accuracy.top1, accuracy.top5)
    for k, (name, images, *shares) in enumerate(columns):
        shares = ["" if np.isnan(share) else f"{share:.2f}" for share in shares]
        table.writerow([k, name, images, *shares, *worst.get(k, ("", 0))])
    write_whole(path, content.getvalue())
