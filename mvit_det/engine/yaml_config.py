"""Read a config from YAML without running anything that the file names.

A Python config executes, as any Python file does. A YAML file is data: reading it imports nothing
but the packages of `PACKAGES`, calls nothing, and what it asks to build later (``_target_``) is
judged by the object that its path leads to, not by the spelling of the path.
"""

import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mvit_det.errors import UserError, brief, shorten_list

# Classes of these packages may be built, and functions of `FUNCTIONS` called.
PACKAGES = ("mvit_det", "detectron2", "torch.nn", "torch.optim", "fvcore", "timm", "torchvision")
FUNCTIONS = {
    "detectron2.data.build": {
        "build_detection_test_loader",
        "build_detection_train_loader",
        "get_detection_dataset_dicts",
    },
    "detectron2.solver.build": {"get_default_optimizer_params"},
    "mvit_det.data.actions.datasets": {"action_clips"},
    "mvit_det.data.actions.transforms": {"action_test_transform", "action_train_transform"},
    "mvit_det.data.classification.datasets": {"image_classes"},
    "mvit_det.data.classification.transforms": {"test_transform", "train_transform"},
    "mvit_det.data.detection.coco": {"coco_dataset", "named_dataset"},
    "mvit_det.data.loader": {"build_train_loader"},
    "mvit_det.data.synthetic.motion_clips": {"motion_clips"},
    "mvit_det.data.synthetic.moving_figures": {"moving_figures"},
    "mvit_det.data.synthetic.shape_crops": {"shape_classes"},
    "mvit_det.data.synthetic.shapes": {"shapes_dataset"},
    "mvit_det.data.video.datasets": {"video_classes", "video_views"},
    "mvit_det.data.video.transforms": {"clip_test_transform", "clip_train_transform"},
    "mvit_det.engine.param_groups": {"classification_parameters"},
}
# But not of these modules, which run configs or load pickles by the path of a file; and no argument
# by which Detectron2's functions do.
_LOADERS = (
    *("mvit_det.predict", "detectron2.checkpoint", "detectron2.config", "detectron2.engine"),
    *("detectron2.export", "timm.data.dataset", "timm.data.readers", "timm.task", "timm.utils"),
    "torchvision.datasets",
)
_LOADING_ARGUMENTS = {"cfg", "proposal_files"}
_MAX_BYTES, _MAX_NODES = 10 << 20, 200_000  # a config.yaml has 20 kB and 1,000 nodes
_TAG = "tag:yaml.org,2002:python/"
# To another key, with a default if it is absent; other resolvers may read the environment.
_REFERENCE = re.compile(r"\$\{(oc\.select:)?[\w.\[\]]+(?(1)(,\s*[\w.]+)?)\}")


def read_yaml_config(path: str, allow_targets: Sequence[str] = ()) -> DictConfig:
    """Read a YAML config, such as the ``config.yaml`` that a run has saved.

    Args:
        path: the file.
        allow_targets: more packages or modules whose classes and functions the file may name.

    Raises:
        UserError: the file is not YAML, is too large, names an object that it may not, or has a
            tag or an interpolation that would run code.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise UserError(f"Config {path} has more than {_MAX_BYTES >> 20} MB: give a config.")
        plain = _parse(text, path, allow_targets)
        _check_values(plain, f"Config {path}", allow_targets)
        return OmegaConf.create(plain, flags={"allow_objects": True})
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"Config {path} is nested too deeply, or contains itself.") from None
    except UnicodeDecodeError:
        raise UserError(
            f"Config {path} is not text in UTF-8: give a .py or .yaml config."
        ) from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"Config {path} cannot be read as YAML: {detail}.") from error


def _parse(text: str, path: str, allow_targets: Sequence[str]) -> dict:
    """Return the plain values of a YAML text whose tags and size are allowed."""
    loader = _Loader(text, path, allow_targets)
    root = loader.get_single_node()
    if root is not None and _expanded_size(root, {}) > _MAX_NODES:
        raise UserError(
            f"Config {path} expands to more than {_MAX_NODES:,} values, since its aliases (*name) "
            "refer to one another: write out what is meant."
        )
    plain = None if root is None else loader.construct_document(root)
    if not isinstance(plain, dict):
        raise UserError(f"Config {path} must hold keys and values, not {type(plain).__name__}.")
    return plain


def _check_values(plain: dict, where: str, allow_targets: Sequence[str]) -> None:
    """Refuse resolvers, and targets that a YAML config may not name."""
    paths: dict[str, str] = {}  # of objects -> what a message calls them
    for key, value in _leaves(plain):
        is_target = key.rpartition(".")[2] == "_target_"
        if isinstance(value, str) and "${" in _REFERENCE.sub("", value):
            raise UserError(
                f"{where}: {key}={brief(value)} calls a resolver, which YAML must not do: write "
                "the value, or refer to another key, ${like.this}."
            )
        if _LOADING_ARGUMENTS & set(key.split(".")):
            raise UserError(
                f"{where}: the key {key} is refused, since Detectron2 may load a pickle by it, "
                "which could run code: write the config in Python."
            )
        if is_target and (not isinstance(value, (str, type, FunctionType)) or "${" in str(value)):
            raise UserError(
                f"{where}: {key}={brief(value)} must be the path of a class or function."
            )
        if isinstance(value, str) and (is_target or key == "task"):
            paths.setdefault(value, f"{where}: {key}={brief(value)}")
    # all packages that a flag could allow in one message, before any is imported
    unknown = {path: root for path in paths if (root := _root(path)) not in _roots(allow_targets)}
    for path in unknown:
        raise _refusal(paths[path], allow_targets, unknown.values())
    for path, what in paths.items():
        find_target(path, what, allow_targets)


def find_target(path: str, where: str, allow_targets: Sequence[str] = ()) -> Any:
    """Return the class or function at a dotted path, if a YAML config may name it.

    Args:
        path: such as ``"torch.nn.LayerNorm"``.
        where: the beginning of the message: the file, the key and the value.
        allow_targets: see `read_yaml_config`.

    Raises:
        UserError: there is no such object, or its own module and name are not allowed.
    """
    # Before the import, which runs the module's code.
    if _root(path) not in _roots(allow_targets) or "__" in {part[:2] for part in path.split(".")}:
        raise _refusal(where, allow_targets, [_root(path)])
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"{where} does not exist: {error}.") from error
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    listed = isinstance(found, FunctionType) and name in FUNCTIONS.get(str(module), ())
    kind = isinstance(found, type) and _is_within(module, PACKAGES)
    kind = kind and not _is_within(module, _LOADERS)
    users = isinstance(found, (type, FunctionType)) and _is_within(module, allow_targets)
    if not (listed or kind or users):
        raise _refusal(where, allow_targets, [_root(str(module))])
    return found


def _refusal(where: str, allow_targets: Sequence[str], packages: Iterable[str]) -> UserError:
    """Build the error for an object of one of ``packages``, with the flags that would allow it."""
    # Nobody's own code is in the standard library, or in __main__.
    taken = {*_roots(()), *allow_targets, *sys.stdlib_module_names, "__main__", "None", ""}
    packages = filter(str.isidentifier, dict.fromkeys(packages))
    offered = [package for package in packages if package not in taken]
    flags = " ".join(f"--allow-target {package}" for package in offered)
    advice = "name one of those, or write the config in Python, which is executed"
    if offered:
        advice = f"if you trust the file, add {flags} (in Python allow_targets={offered})"
    return UserError(
        f"{where} is not allowed in a YAML config, which may name classes of "
        f"{shorten_list((*PACKAGES, *allow_targets), 20)} and their functions that configs use: "
        f"{advice}."
    )


def _root(path: str) -> str:
    return path.partition(".")[0]


def _roots(allow_targets: Sequence[str]) -> set[str]:
    return {_root(package) for package in (*PACKAGES, *allow_targets)}


def _is_within(module: str | None, packages: Sequence[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count the values of a node after aliases are copied; infinite if it contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = _MAX_NODES + 1  # until it is known: met again inside of itself
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        sizes[id(node)] = 1 + sum(_expanded_size(child, sizes) for child in children)
    return sizes[id(node)]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all that is neither a dict, a list nor a tuple."""
    pairs: Any = enumerate(value) if isinstance(value, (list, tuple)) else None
    pairs = value.items() if isinstance(value, dict) else pairs
    if pairs is None:
        yield key, value
        return
    for name, inner in pairs:
        yield from _leaves(inner, f"{key}.{name}" if key else str(name))


class _Loader(yaml.SafeLoader):
    """Read the tags that a saved config has, and refuse every other Python tag."""

    def __init__(self, text: str, path: str, allow_targets: Sequence[str]):
        super().__init__(text)
        self.path, self.allow_targets = path, allow_targets

    def _where(self, node: yaml.Node) -> str:
        return f"Config {self.path}, line {node.start_mark.line + 1}"

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple:
        return tuple(self.construct_sequence(node, deep=True))

    def construct_name(self, name: str, node: yaml.Node) -> Any:
        return find_target(name, f"{self._where(node)}: {name}", self.allow_targets)

    def construct_partial(self, node: yaml.MappingNode) -> partial:
        try:
            func, args, keywords, _ = self.construct_mapping(node, deep=True)["state"]
            return partial(func, *args, **keywords)
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self._where(node)}: not a saved functools.partial.") from error

    def refuse(self, tag: str, node: yaml.Node) -> Any:
        raise UserError(
            f"{self._where(node)}: !!python/{tag} is refused, since reading it could run code; "
            "write plain values, or the config in Python."
        )


_Loader.add_constructor(_TAG + "tuple", _Loader.construct_tuple)
_Loader.add_constructor(_TAG + "object/apply:functools.partial", _Loader.construct_partial)
_Loader.add_multi_constructor(_TAG + "name:", _Loader.construct_name)
_Loader.add_multi_constructor(_TAG, _Loader.refuse)
