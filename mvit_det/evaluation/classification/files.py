"""Files of a classifier's evaluation: predictions for all images, and a table of all classes."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.metrics import Accuracy, Predictions
from mvit_det.evaluation.writing import write_arrays, write_atomic

# columns of every file: number of axes and dtype kind
NAMED = {"class_names": (1, "U"), "file_name": (1, "U"), "label": (1, "i")}


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as arrays for `numpy.load`.

    Arrays: ``class_names`` (K,) str; ``file_name`` (N,) str, ``label`` (N,) int32, ``top_classes``
    (N, k) int32 and ``top_scores`` (N, k) float32, best first.

    Raises:
        UserError: the file cannot be written.
    """
    write_arrays(
        path,
        compress=True,
        class_names=np.array(predictions.names, np.str_),
        file_name=np.asarray(predictions.file_name, np.str_),
        label=predictions.label.astype(np.int32),
        top_classes=predictions.classes.astype(np.int32),
        top_scores=predictions.scores.astype(np.float32),
    )


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a `numpy.savez` file by name.

    Raises:
        UserError: the file is absent, of another kind, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(
            f"Prediction file {path} does not exist (looked from {os.getcwd()}): correct the path."
        ) from error
    except Exception as error:  # numpy and zipfile fail in many ways
        raise UserError(
            f"{path} cannot be read as a file of predictions ({type(error).__name__}): give the "
            "path of a classification_predictions.npz, video_scores.npz or view_scores.npz, or "
            "repeat the test that writes it."
        ) from error


def parse_predictions(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> Predictions:
    """Check the arrays of a `save_predictions` file and return them as predictions.

    Args:
        arrays: of the file, by name.
        path: of the file, for messages.

    Raises:
        UserError: an array is missing or invalid.
    """
    kinds = {**NAMED, "top_classes": (2, "i"), "top_scores": (2, "f")}
    columns = check_columns(arrays, kinds, path)
    names, file_name, label, classes, scores = columns.values()
    fault = None
    if classes.shape != scores.shape or len(classes) != len(label):
        fault = f"it has {len(label)} labels, {classes.shape} classes, {scores.shape} scores"
    elif not classes.shape[1]:
        fault = "it has no predictions"
    elif classes.min() < 0 or classes.max() >= len(names):
        fault = f"its top_classes are from {classes.min()} to {classes.max()}, of {len(names)}"
    elif not np.isfinite(scores).all():
        fault = "it has scores that are not finite"
    if fault:
        raise inconsistent_file(path, fault)
    return Predictions(names.tolist(), file_name, label, classes, scores)


def check_columns(
    arrays: Mapping[str, np.ndarray],
    columns: Mapping[str, tuple[int, str]],
    path: str | os.PathLike,
) -> dict[str, np.ndarray]:
    """Check the named columns and return them, in order.

    Args:
        arrays: of a file of predictions, by name.
        columns: name -> number of axes and dtype kind.
        path: of the file, for messages.

    Raises:
        UserError: a column is missing or malformed, or names, files and labels do not match.
    """
    missing = [name for name in columns if name not in arrays]
    if missing:
        raise UserError(f"{path} is not a file of predictions: it lacks {missing[0]}.")
    for name, (axes, kind) in columns.items():
        if arrays[name].ndim != axes or arrays[name].dtype.kind != kind:
            actual = f"{arrays[name].dtype} of shape {arrays[name].shape}"
            raise inconsistent_file(path, f"its {name} is {actual}")
    names, file_name, label = (arrays[name] for name in NAMED)
    if len(file_name) != len(label):
        raise inconsistent_file(path, f"it has {len(file_name)} file names, {len(label)} labels")
    if not len(label):
        raise inconsistent_file(path, "it has no predictions")
    if len(set(names.tolist())) < len(names):
        raise inconsistent_file(path, "two classes have the same name")
    if label.min() < 0 or label.max() >= len(names):
        fault = f"its labels are from {label.min()} to {label.max()}, of {len(names)} classes"
        raise inconsistent_file(path, fault)
    return {name: arrays[name] for name in columns}


def inconsistent_file(path: str | os.PathLike, fault: str) -> UserError:
    """Return the error for a file that can be read but is inconsistent, because of ``fault``."""
    return UserError(f"{path} is not a valid file of predictions: {fault}; repeat the test.")


def save_classes(path: Path, predictions: Predictions, accuracy: Accuracy) -> None:
    """Write a csv table of all classes: images, accuracy, the most frequent wrong prediction.

    Columns: number (class index), class, images or videos, top1 and top5 in percent (empty without
    images), most_taken_for (a class name), times.

    Raises:
        UserError: the file cannot be written.
    """
    true, predicted, count = predictions.mistakes()
    # pairs are sorted by descending frequency, so the first one of a class is the most frequent
    classes, first = np.unique(true, return_index=True)
    confused = {k: (predictions.names[predicted[i]], count[i]) for k, i in zip(classes, first)}
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["number", "class", predictions.kind, "top1", "top5", "most_taken_for", "times"])
    columns = zip(predictions.names, accuracy.images, accuracy.top1, accuracy.top5)
    for k, (name, images, *percents) in enumerate(columns):
        cells = ["" if np.isnan(percent) else f"{percent:.2f}" for percent in percents]
        table.writerow([k, name, images, *cells, *confused.get(k, ("", 0))])
    write_atomic(path, content.getvalue())
