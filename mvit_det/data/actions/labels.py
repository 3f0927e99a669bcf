"""Names of a data set's actions, and which of them are evaluated."""

import logging
import os
from collections.abc import Mapping

import numpy as np

from mvit_det.ava_files import BoxTable, read_label_map
from mvit_det.data.paths import resolve_path
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
