"""Names of a data set's actions, and which of them are evaluated."""

import logging
import os
from collections.abc import Iterable, Mapping

import numpy as np

from mvit_det.ava_files import BoxTable, read_boxes, read_label_map
from mvit_det.data.custom.categories import Node
from mvit_det.data.paths import resolve_path, resolve_paths
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)


def action_names(label_map: str | os.PathLike | None, num_classes: int) -> dict[int, str]:
    """Return {id: name} of the evaluated actions: those of the label map, else all by number.

    Raises:
        UserError: the label map cannot be read, or has an id above ``num_classes``.
    """
    if label_map is None:
        return {number: f"action {number}" for number in range(1, num_classes + 1)}
    names = read_label_map(resolve_path(label_map, "The label map"))
    if max(names) > num_classes:
        raise UserError(
            f"The label map {label_map} has the id {max(names)} ({names[max(names)]}), but the "
            f"model is built for the actions 1 to {num_classes}: set "
            f"model.num_classes={max(names)}, or give the label map of this data set."
        )
    return names


def evaluated_actions(
    label_map: str | None, annotated: Mapping[str, BoxTable], num_classes: int
) -> dict[int, str]:
    """Return `action_names`, and log how they differ from the actions that are annotated.

    Args:
        label_map: path of the label map; None: all actions are evaluated.
        annotated: {path: table} of the annotation files.
        num_classes: number of model outputs.

    Raises:
        UserError: no annotated action is in the label map, or as for `action_names`.

    Returns:
        {id: name} of the evaluated actions, ids from 1 to ``num_classes``.
    """
    names = action_names(label_map, num_classes)
    ids = np.unique(np.concatenate([table.action for table in annotated.values()])).tolist()
    unnamed = [number for number in ids if number not in names] if label_map else []
    if unnamed and len(unnamed) == len(ids):
        raise UserError(
            f"Not one action of {shorten_list(annotated)} ({shorten_list(ids)}) is in the label "
            f"map {label_map} ({shorten_list(names)}): give the label map of this data set."
        )
    if unnamed:
        logger.info(
            "%s: the actions %s are not in %s: they are trained, but not evaluated.",
            *(shorten_list(annotated), shorten_list(unnamed, 20), label_map),
        )
    absent = [names[number] for number in sorted(names.keys() - set(ids))]
    if absent:
        logger.warning("%s: no box shows %s.", shorten_list(annotated), shorten_list(absent, 10))
    return names


def check_tested_actions(train: Node, test: Node) -> None:
    """Refuse actions that are tested, but not in the training data.

    Those that the label map of the test data lacks are not tested.

    Args:
        train: arguments of `action_clips`.
        test: the same for the test data.

    Raises:
        UserError: names the first file and line with such an action.
    """
    files = [resolve_paths(node["actions"], "The file of actions") for node in (train, test)]
    found = [_actions(read_boxes(path, "actions") for path in paths) for paths in files]
    known = test.get("label_map")
    names = action_names(known, test.get("num_classes", 80))
    untrained = (found[1] & names.keys()) - found[0]
    if untrained:  # a large file, which may label the boxes of a detector
        paths = resolve_paths(train.get("proposals") or (), "The file of proposals")
        untrained -= _actions(read_boxes(path, "proposals") for path in paths)
    if not untrained:
        return
    tables = ((path, read_boxes(path, "actions")) for path in files[1])
    lines = ((path, table.line[np.isin(table.action, list(untrained))]) for path, table in tables)
    where, first = next((path, rows[0]) for path, rows in lines if len(rows))
    titles = [f"{number} ({names[number]})" if known else number for number in sorted(untrained)]
    raise UserError(
        f"{where}, line {first}, has an action that {shorten_list(files[0])} does not have "
        f"({shorten_list(titles, 20)}): annotate it for training too, or give a label map "
        "(--label-map, dataloader.test.dataset.label_map) without it."
    )


def _actions(tables: Iterable[BoxTable]) -> set[int]:
    return set().union(*(np.unique(table.action).tolist() for table in tables))
