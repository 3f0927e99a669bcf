"""Configs as YAML text, in the form that Detectron2 writes, read without running anything.

Beside plain YAML there are three things: tuples, names of classes and functions, and
``functools.partial`` objects. PyYAML's own loader for them calls whatever a file asks it to call,
so a config from a stranger could run any command; the loader here calls nothing.
"""

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import yaml

from detectron2.config.names import dotted_path
from detectron2.utils.registry import locate

_TAG = "tag:yaml.org,2002:python/"
_PARTIAL = _TAG + "object/apply:functools.partial"


class _Dumper(yaml.SafeDumper):
    """Writes Python objects by the tags that PyYAML's full dumper uses."""

    def represent_name(self, thing: Any) -> yaml.Node:
        return self.represent_scalar(f"{_TAG}name:{dotted_path(thing)}", "")

    def represent_partial(self, call: partial) -> yaml.Node:
        state = (call.func, call.args, call.keywords, None)
        return self.represent_mapping(_PARTIAL, {"args": [call.func], "state": state})

    def represent_tuple(self, items: tuple) -> yaml.Node:
        return self.represent_sequence(_TAG + "tuple", items)

    def represent_unknown(self, thing: Any) -> yaml.Node:
        # To be read by people only: the loader refuses it.
        return self.represent_scalar(f"{_TAG}object:{dotted_path(type(thing))}", repr(thing))


_Dumper.add_representer(tuple, _Dumper.represent_tuple)
_Dumper.add_representer(partial, _Dumper.represent_partial)
for _kind in (type, FunctionType, BuiltinFunctionType, MethodType):
    _Dumper.add_multi_representer(_kind, _Dumper.represent_name)
_Dumper.add_multi_representer(object, _Dumper.represent_unknown)


class _Loader(yaml.SafeLoader):
    """Reads what ``_Dumper`` writes, and refuses every other Python tag."""

    def construct_name(self, path: str, node: yaml.Node) -> Any:
        try:
            return locate(path)
        except ImportError as error:
            raise ValueError(f"{_place(node)}: {error}") from error

    def construct_partial(self, node: yaml.Node) -> partial:
        try:
            func, args, keywords, _ = self.construct_mapping(node, deep=True)["state"]
            return partial(func, *args, **keywords)
        except (yaml.YAMLError, KeyError, TypeError) as error:
            # YAMLError: the node is no mapping, as in `apply:functools.partial [os.system]`.
            raise ValueError(f"{_place(node)}: this is no saved functools.partial.") from error

    def construct_pair(self, node: yaml.Node) -> tuple:
        return tuple(self.construct_sequence(node, deep=True))

    def refuse(self, suffix: str, node: yaml.Node) -> Any:
        raise ValueError(
            f"{_place(node)}: !!python/{suffix} is refused, because reading it could run code. "
            "A config file may hold plain values, tuples, names and functools.partial."
        )


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


_Loader.add_constructor(_TAG + "tuple", _Loader.construct_pair)
_Loader.add_constructor(_PARTIAL, _Loader.construct_partial)
_Loader.add_multi_constructor(_TAG + "name:", _Loader.construct_name)
_Loader.add_multi_constructor(_TAG, _Loader.refuse)


def dump(value: Any) -> str:
    """YAML text of nested dicts, lists and leaves; mappings and lists of leaves on one line."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=None, allow_unicode=True, width=9999)


def parse(text: Any) -> Any:
    """The value of a YAML text or stream.

    Raises:
        ValueError: it has a tag that is not allowed, or names something that does not exist.
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, Loader=_Loader)
