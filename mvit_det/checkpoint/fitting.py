"""Fit weights to a model, and report what is used, changed or left out, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from mvit_det.checkpoint.inflation import check_inflation, starts_at_zero
from mvit_det.checkpoint.layout import BACKBONE, Layout, backbone_prefix, layout_of
from mvit_det.checkpoint.reasons import is_configured, why_dropped, why_missing
from mvit_det.checkpoint.report import format_notes
from mvit_det.checkpoint.resize import OTHER_CLASSES, ShapeMismatch, adapt
from mvit_det.checkpoint.unwrapping import INSERTED
from mvit_det.checkpoint.weights import Weights, check_real
from mvit_det.errors import UserError


@dataclass
class Report:
    """Outcome for every tensor of the file and of the model.

    Attributes:
        source: the file, its network and format.
        used: names in the model that take a tensor of the file unchanged.
        resized: name in the model -> how the tensor of the file was changed.
        zeroed: name in the model -> why it is set to zero.
        missing: name in the model -> why the file has no tensor for it.
        mismatched: name in the model -> why the file's tensor of that name does not fit.
        dropped: name in the file -> why the model does not use it.
        configured: names in the model that are absent from the file and set by the config.
        backbone: names in the model that belong to the transformer; all names if it has none.
    """

    source: str
    used: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    zeroed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    mismatched: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    configured: list[str] = field(default_factory=list)
    backbone: list[str] = field(default_factory=list)

    @property
    def other_classes(self) -> tuple[str, str] | None:
        """Classes of the file and of the model, if nothing else differs; else None."""
        reasons = set(self.mismatched.values())
        match = OTHER_CLASSES.fullmatch(next(iter(reasons), ""))
        return (match[1], match[2]) if match and len(reasons) == 1 and not self.missing else None

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model has its weights, from the file or as zeros."""
        return not self.missing and not self.mismatched

    @property
    def backbone_fitting(self) -> int:
        """Number of the transformer's tensors that have their weights."""
        return sum(
            name not in self.missing and name not in self.mismatched for name in self.backbone
        )

    @property
    def backbone_share(self) -> float:
        """Share of the transformer's tensors that have their weights, 0 to 1."""
        return self.backbone_fitting / max(len(self.backbone), 1)

    def __str__(self) -> str:
        parts = (self.used, self.resized, self.zeroed, self.missing, self.mismatched)
        total = sum(map(len, parts))
        taken = len(self.used) + len(self.resized)
        notes = {
            "resized,": self.resized,
            "set to zero,": self.zeroed,
            "not in the file, keep their initial values,": self.missing,
            "do not fit, keep their initial values,": self.mismatched,
            "in the file, not used,": self.dropped,
        }
        head = f"{taken} of the model's {total} tensors come from {self.source}"
        return "\n".join([head, *format_notes(notes)])


@dataclass(frozen=True)
class Fitted:
    """Weights that fit a model.

    Attributes:
        state: name in the model -> tensor of the model's shape; a partial ``state_dict``.
        report: outcome for every tensor.
    """

    state: dict[str, torch.Tensor]
    report: Report


def fit(
    weights: Weights, model_state: Mapping[str, torch.Tensor], inflation: str = "centre"
) -> Fitted:
    """Find the weights for every tensor of a model, without changing the model.

    Position tables are resized, 2-D convolutions and 3-D ones of one frame are interchangeable, and
    2-D convolutions are inflated to 3-D; nothing else is adapted.

    Args:
        weights: as read from a file.
        model_state: the model's ``state_dict``; the transformer's prefix is what precedes
            ``patch_embed.proj.weight``.
        inflation: rule for turning image weights into clip weights, one of
            ``inflation.INFLATIONS``.

    Raises:
        UserError: file and model widen their channels in different places, the inflation is
            unknown, or a tensor that the model needs is not of floating-point numbers.
    """
    check_inflation(inflation)
    plain = {INSERTED.sub("", name): name for name in model_state}  # as in what is read
    prefix = backbone_prefix(plain)
    ours = {_strip_prefix(name, prefix): full for name, full in plain.items()}
    model = layout_of({name: model_state[full] for name, full in ours.items()})
    _check_expansion(weights, model, prefix)

    kind = f" ({weights.layout}, {weights.format})" if weights.layout else ""
    report = Report(f"{weights.path}{kind}", dropped=dict(weights.left_out))
    state = {}
    for name, tensor in weights.tensors.items():
        source = weights.sources[name]
        if name not in ours:
            report.dropped[source] = why_dropped(name, weights.layout, model, ours)
            continue
        full = ours[name]
        target = model_state[full]
        if target.is_floating_point():
            check_real(source, tensor, weights.path)
        try:
            state[full], note = adapt(name, tensor, target, weights.layout, model, inflation)
        except ShapeMismatch as error:
            report.mismatched[full] = str(error)
            continue
        if note is None:
            report.used.append(full)
        else:
            report.resized[full] = note
    for name, full in ours.items():
        if full in state or full in report.mismatched:
            continue
        if is_configured(full):
            report.configured.append(full)
        elif starts_at_zero(name, weights.layout, model, weights.tensors, inflation):
            state[full] = torch.zeros_like(model_state[full])
            report.zeroed[full] = "the file is for images, time has no influence at first"
        else:
            report.missing[full] = why_missing(name, weights.layout, model)
    backbone = [full for name, full in ours.items() if prefix is None or BACKBONE.fullmatch(name)]
    report.backbone = [full for full in backbone if not is_configured(full)]
    return Fitted(state, report)


def _strip_prefix(name: str, prefix: str | None) -> str:
    if prefix and name.startswith(prefix) and BACKBONE.fullmatch(name[len(prefix) :]):
        return name[len(prefix) :]
    return name


def _check_expansion(weights: Weights, model: Layout | None, prefix: str | None) -> None:
    file = weights.layout
    if file is None or model is None or file.expand_in is None or model.expand_in is None:
        return
    # MViTv1 also widens in the MLP, but without relative position it fits neither way
    kinds = {(layout.embed_dim, layout.depths, layout.grid is None) for layout in (file, model)}
    if len(kinds) == 1 and file.expand_in != model.expand_in:
        key = f"model.{prefix}expand_in={file.expand_in}"
        raise UserError(
            f"{weights.path} widens its channels in the {_PLACES[file.expand_in]}, and this model "
            f"in the {_PLACES[model.expand_in]}: add {key} to the command."
        )


_PLACES = {"attention": "attention of a stage's first block", "mlp": "MLP of a stage's last block"}
