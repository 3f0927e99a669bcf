"""Configs as YAML: plain values, tuples, names of objects, and ``functools.partial``.

PyYAML's own loader calls whatever a file asks for; the loader here calls nothing.
"""

from functools import partial
from typing import Any

import yaml

from detectron2.utils.registry import locate

_TAG = "tag:yaml.org,2002:python/"


class _Dumper(yaml.Dumper):
    """Also writes what cannot be read again, such as modules, instead of failing."""

    def represent_unknown(self, thing: Any) -> yaml.Node:
        return self.represent_scalar(f"{_TAG}object:{type(thing).__qualname__}", repr(thing))


_Dumper.add_multi_representer(object, _Dumper.represent_unknown)
_Dumper.add_multi_representer(type, _Dumper.represent_name)  # with any metaclass
_Dumper.add_representer(partial, _Dumper.represent_object)


class _Loader(yaml.SafeLoader):
    """Reads what ``_Dumper`` writes, and refuses every other Python tag."""

    def construct_name(self, path: str, node: yaml.Node) -> Any:
        try:
            return locate(path)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{_place(node)}: {error}") from error

    def construct_partial(self, node: yaml.Node) -> partial:
        try:
            func, args, keywords, _ = self.construct_mapping(node, deep=True)["state"]
            return partial(func, *args, **keywords)
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ValueError(f"{_place(node)}: this is no saved functools.partial.") from error

    def refuse(self, tag: str, node: yaml.Node) -> Any:
        raise ValueError(f"{_place(node)}: !!python/{tag} is refused, as reading it could run code")


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


_Loader.add_constructor(
    _TAG + "tuple", lambda loader, node: tuple(loader.construct_sequence(node, True))
)
_Loader.add_constructor(_TAG + "object/apply:functools.partial", _Loader.construct_partial)
_Loader.add_multi_constructor(_TAG + "name:", _Loader.construct_name)
_Loader.add_multi_constructor(_TAG, _Loader.refuse)


def dump(value: Any) -> str:
    """Write a plain value as YAML; short collections stand in one line, as by Detectron2."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=None, allow_unicode=True, width=9999)


def parse(text: Any) -> Any:
    """Return the value of a text or stream; ValueError where it names or calls what it must not."""
    return yaml.load(text, Loader=_Loader)
