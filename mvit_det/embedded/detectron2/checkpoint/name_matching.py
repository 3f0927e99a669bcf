"""Find a model's parameters in a file that names them without, or with fewer, outer modules."""

import logging
from typing import Any

import torch


def match_by_suffix(model_state: dict[str, torch.Tensor], loaded: dict[str, Any]) -> dict[str, Any]:
    """Rename ``loaded`` (names to arrays or tensors) to the names in ``model_state``.

    ``backbone.blocks.0.norm1.weight`` of the model takes the loaded value whose name is its longest
    possible ending: the same name, else ``blocks.0.norm1.weight``, and so on. What fits no name
    or has another shape keeps its own, so that the checkpointer reports it.

    Raises:
        ValueError: one loaded value would go to two places.
    """
    logger = logging.getLogger(__name__)
    taken: dict[str, str] = {}
    for name, value in model_state.items():
        parts = name.split(".")
        endings = (".".join(parts[start:]) for start in range(len(parts)))
        source = next((ending for ending in endings if ending in loaded), None)
        if source is None:
            continue
        shapes = tuple(loaded[source].shape), tuple(value.shape)
        if shapes[0] != shapes[1]:
            logger.warning(
                f"{source} of the checkpoint is left out: its shape is {shapes[0]}, but that of "
                f"{name} in the model is {shapes[1]}."
            )
        elif source in taken:
            raise ValueError(
                f"{source} of the checkpoint fits both {taken[source]} and {name} of the model: "
                "rename the checkpoint's entries to the model's names."
            )
        else:
            taken[source] = name
    if taken:
        logger.info(f"{len(taken)} of {len(loaded)} values of the checkpoint matched by name.")
    else:
        logger.warning("Nothing in the checkpoint matched a name in the model.")
    return {taken.get(name, name): value for name, value in loaded.items()}
