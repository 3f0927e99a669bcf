"""Configs as YAML: plain values, tuples, names of objects, and ``functools.partial``.

PyYAML's default loader can call any function that a file names; the loader here calls none.
"""

from functools import partial
from typing import Any

import yaml

from detectron2.utils.registry import locate

_TAG = "tag:yaml.org,2002:python/"


class _Dumper(yaml.Dumper):
    """Also write objects that cannot be loaded, such as modules, instead of failing."""

    def represent_unknown(self, data: Any) -> yaml.Node:
        """Write the ``repr`` of an object under a tag that the loader refuses."""
        return self.represent_scalar(f"{_TAG}object:{type(data).__qualname__}", repr(data))


_Dumper.add_multi_representer(object, _Dumper.represent_unknown)
_Dumper.add_multi_representer(type, _Dumper.represent_name)  # type: ignore[arg-type]  # stub
_Dumper.add_representer(partial, _Dumper.represent_object)


class _Loader(yaml.SafeLoader):
    """Load what ``_Dumper`` writes, and refuse every other Python tag."""

    def construct_name(self, path: str, node: yaml.Node) -> Any:
        """Return the object at a dotted path."""
        try:
            return locate(path)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{_line(node)}: {error}") from error

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple:
        """Make a tuple of a sequence."""
        return tuple(self.construct_sequence(node, deep=True))

    def construct_partial(self, node: yaml.MappingNode) -> partial:
        """Make a ``functools.partial`` from its pickled state."""
        try:
            func, args, keywords, _ = self.construct_mapping(node, deep=True)["state"]
            return partial(func, *args, **keywords)
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ValueError(f"{_line(node)}: this is not a saved functools.partial.") from error

    def refuse(self, tag: str, node: yaml.Node) -> Any:
        """Raise ValueError for an unknown Python tag."""
        raise ValueError(f"{_line(node)}: !!python/{tag} is refused, as reading it could run code")


def _line(node: yaml.Node) -> str:
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


_Loader.add_constructor(_TAG + "tuple", _Loader.construct_tuple)
_Loader.add_constructor(_TAG + "object/apply:functools.partial", _Loader.construct_partial)
_Loader.add_multi_constructor(_TAG + "name:", _Loader.construct_name)
_Loader.add_multi_constructor(_TAG, _Loader.refuse)


def dump(value: Any) -> str:
    """Write a plain value as YAML; short collections are on one line, as in Detectron2."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=None, allow_unicode=True, width=9999)


def parse(text: Any) -> Any:
    """Parse a text or stream; ValueError if it names a missing object or calls a function."""
    return yaml.load(text, Loader=_Loader)
