"""Files that are read, and files that are refused: without running code, in one sentence."""

import argparse
import copy
import io
import os
import pickle
import re
import signal
import sys
import types
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.reading import read_file
from mvit_det.errors import UserError


def legacy_save(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def pickle_save(content, path, protocol):
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=protocol)


PICKLERS = {f"protocol {p}.pkl": partial(pickle_save, protocol=p) for p in range(6)}
SAVERS = {
    "zip.pth": torch.save,
    "zip of protocol 4.pth": partial(torch.save, pickle_protocol=4),
    "legacy.pyth": legacy_save,
    "pickle by another name.pth": partial(pickle_save, protocol=2),
    "torch by another name.pkl": torch.save,
    **PICKLERS,
}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payload(name: str, marker) -> Calls:
    """Return an object whose pickle creates the file ``marker`` when Python unpickles it."""
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "builtins.exec": Calls(exec, code),
        "builtins.eval": Calls(eval, code),
        f"{os.name}.system": Calls(os.system, f"touch '{marker}'"),
    }[name]


PAYLOADS = ("builtins.exec", "builtins.eval", f"{os.name}.system")
PLACES = {
    "alone": lambda bad: bad,
    "next to weights": lambda bad: {"model": {"w": np.ones(2)}, "epoch": bad},
    "deep in a dict": lambda bad: {"model": {"w": np.ones(2), "v": [{"u": ({"t": bad},)}]}},
    "in an argument": lambda bad: {"model": {"w": np.ones(2)}, "args": Calls(dict, [("a", bad)])},
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payloads_run_in_pickle_loads(tmp_path, name):
    pickle.loads(pickle.dumps(payload(name, tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SAVERS)
def test_row_30_a_payload_is_refused_by_name_and_not_run(tmp_path, name, place, kind):
    SAVERS[kind](PLACES[place](payload(name, tmp_path / "marker")), tmp_path / kind)
    # the message has the first name
    asked = "builtins.dict" if place == "in an argument" else name
    refused = f"is refused: it refers to {asked}, "
    if kind == "zip of protocol 4.pth":  # which torch's reader of weights does not know
        refused = "cannot be read .Unsupported operand"
    with pytest.raises(UserError, match=refused) as raised:
        read_file(tmp_path / kind)
    assert not (tmp_path / "marker").exists()
    assert "weights_only" not in str(raised.value)  # nothing offers to switch safety off


def test_row_30_a_payload_is_named_also_in_a_damaged_file(tmp_path):
    pickle_save([payload("builtins.exec", tmp_path / "marker"), "x" * 99], tmp_path / "a.pkl", 2)
    whole = (tmp_path / "a.pkl").read_bytes()
    (tmp_path / "a.pkl").write_bytes(whole[:-50])
    with pytest.raises(UserError, match="refused: it refers to builtins.exec"):
        read_file(tmp_path / "a.pkl")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pyth"])
def test_row_30_functions_of_torch_that_run_code_are_refused(tmp_path, kind):
    inner = pickle.dumps(payload("builtins.exec", tmp_path / "marker"))
    SAVERS[kind](
        {"w": torch.ones(1), "v": Calls(torch.storage._load_from_bytes, inner)}, tmp_path / kind
    )
    with pytest.raises(UserError, match="refers to torch.storage._load_from_bytes"):
        read_file(tmp_path / kind)
    assert not (tmp_path / "marker").exists()


def test_blank_objects_cannot_be_called(tmp_path):
    # getattr(argparse.Namespace, "x")("y"): both names become blank objects
    program = b"\x80\x02c__builtin__\ngetattr\ncargparse\nNamespace\nX\x01\x00\x00\x00x\x86R"
    program += b"X\x01\x00\x00\x00y\x85R."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/version", "3\n")
    with pytest.raises(UserError, match="unrecognized function.*not written by torch.save"):
        read_file(tmp_path / "a.pth")


@pytest.fixture
def history_buffer(monkeypatch):
    """Define a class like that of mmengine's logs, which pickles its methods, under its name."""

    class HistoryBuffer:
        def __init__(self):
            self.history = np.arange(4.0)
            self.statistics = {"mean": self.mean}

        def mean(self):
            return self.history.mean()

    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return HistoryBuffer


@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pyth"])
def test_other_entries_of_training_programs_do_no_harm(tmp_path, kind, history_buffer):
    content = {
        "state_dict": {"w": torch.arange(6.0).view(2, 3)},
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.75),
        "counts": np.arange(3, dtype=np.int64),
        "message_hub": {"log_scalars": {"loss": history_buffer()}},
        "meta": {"cfg": "a = 1", "epoch": 3},
    }
    SAVERS[kind](content, tmp_path / kind)
    read = read_file(tmp_path / kind)
    assert read["state_dict"]["w"].equal(content["state_dict"]["w"])
    assert read["best"] == 0.75 and read["counts"].tolist() == [0, 1, 2]
    assert read["meta"] == content["meta"]
    assert not isinstance(read["args"], argparse.Namespace)
    assert type(read["message_hub"]["log_scalars"]["loss"]).__name__ == "Blank"


@pytest.mark.parametrize("kind", PICKLERS)
def test_pickled_arrays_are_read_bit_for_bit(tmp_path, kind):
    arrays = {
        "single": np.random.randn(2, 3).astype(np.float32),
        "half, columns first": np.asfortranarray(np.random.randn(2, 3).astype(np.float16)),
        "big endian": np.arange(3, dtype=">i4"),
        "scalar": np.float32(0.1),
        "empty": np.zeros((0, 4)),
        "no axes": np.array(7),
    }
    SAVERS[kind]({"model": arrays, "__author__": "someone"}, tmp_path / kind)
    read = read_file(tmp_path / kind)
    assert read["__author__"] == "someone"
    for name, array in arrays.items():
        assert read["model"][name].dtype.str[1:] == array.dtype.str[1:]
        assert np.array_equal(read["model"][name], array)


def test_arrays_that_python_2_pickled_as_strings_are_read(tmp_path):
    # protocol 1, where the bytes of an array are a string and numpy's module is the old one
    text = (
        b"(dU\x01wcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80\x3f\x00\x00\x80\xbftbs."
    ).replace(b"\x89", b"I00\n")
    (tmp_path / "old.pkl").write_bytes(text)
    assert read_file(tmp_path / "old.pkl")["w"].tolist() == [1.0, -1.0]


def test_a_dtype_state_that_turns_numbers_into_addresses_has_no_effect(tmp_path):
    # numpy.dtype("f4") whose state sets the byte order, and all flags: that its items are objects
    program = b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x00\x87R"
    program += b"(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x7ftb."
    (tmp_path / "a.pkl").write_bytes(program)
    read = read_file(tmp_path / "a.pkl").kind
    assert read == np.dtype(">f4") and not read.hasobject
    assert np.dtype("f4").isnative


def test_arrays_of_objects_are_refused(tmp_path):
    pickle_save({"w": np.array([{}, None])}, tmp_path / "a.pkl", 2)
    with pytest.raises(UserError, match="an array of 'O8' does not hold numbers"):
        read_file(tmp_path / "a.pkl")


def test_safetensors(tmp_path):
    tensors = {"a": torch.randn(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "w.safetensors")
    read = read_file(tmp_path / "w.safetensors")
    assert read.keys() == tensors.keys() and all(read[k].equal(v) for k, v in tensors.items())


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is an empty file: download it again"),
        (b"\n<!DOCTYPE html><html>503</html>", "is a web page, not a weight file"),
        (b"<html><head></head></html>", "is a web page, not a weight file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"cfg: abc\nlearning rate: 0.1\n", "is not a weight file, it begins with 'cfg: abc"),
        (b"{'a': 1}", "is not a weight file, it begins with"),
        (b"\x89PNG\r\n\x1a\n0000", "is not a weight file, it begins with"),
        (b"\x80", "cannot be read .*download it again"),
        (b"\x80\x63abc", "cannot be read .*unsupported pickle protocol: 99.*download it again"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{garbage garbage", "cannot be read .*download it again"),
    ],
)
def test_other_files_end_in_one_sentence(tmp_path, content, sentence):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_file(tmp_path / "model.pth")


def test_folders_and_missing_files_end_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is a folder: give the weight file"):
        read_file(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/no.pth cannot be opened (No such")):
        read_file(tmp_path / "no.pth")


TRUNCATED = ("zip.pth", "legacy.pyth", "protocol 2.pkl", "protocol 4.pkl", "w.safetensors")


@pytest.mark.parametrize("kind", TRUNCATED)
def test_a_truncated_file_ends_in_one_sentence(tmp_path, kind):
    w = np.arange(50.0) if kind.endswith(".pkl") else torch.arange(50.0)
    if kind == "w.safetensors":
        save_file({"w": w}, tmp_path / kind)
    else:
        SAVERS[kind]({"model": {"w": w}}, tmp_path / kind)
    whole = (tmp_path / kind).read_bytes()
    # a legacy file is also cut within the names that it refers to
    more = range(2, len(whole), 5) if kind == "legacy.pyth" else ()
    for length in (1, 4, 9, 40, len(whole) // 3, len(whole) * 2 // 3, len(whole) - 1, *more):
        (tmp_path / kind).write_bytes(whole[:length])
        with pytest.raises(UserError, match="download it again|is not a weight file"):
            read_file(tmp_path / kind)


def test_flipped_bytes_are_detected(tmp_path):
    torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    whole = bytearray((tmp_path / "w.pth").read_bytes())
    middle = whole.index(bytes(2000))
    whole[middle + 1000] ^= 255
    (tmp_path / "w.pth").write_bytes(whole)
    with pytest.raises(UserError, match="is damaged .checksum of .*data/0.: download it again"):
        read_file(tmp_path / "w.pth")


def test_other_archives_end_in_one_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("photo.jpg", "x")
    with pytest.raises(UserError, match="is an archive of photo.jpg, not a weight file: unpack it"):
        read_file(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", "x")
        archive.writestr("b/constants.pkl", "x")
    with pytest.raises(UserError, match="is a TorchScript program: give the state_dict"):
        read_file(tmp_path / "b.pth")


# ------------------------------------------------- small files that ask for much time and memory


def zip_of(program: bytes) -> bytes:
    """A file of torch.save with this pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/version", "3\n")
    return file.getvalue()


def legacy_of(program: bytes) -> bytes:
    """A file of torch before version 1.6 with this pickle."""
    file = io.BytesIO()
    torch.save({}, file, _use_new_zipfile_serialization=False)
    return file.getvalue().replace(pickle.dumps({}, 2), program)


def shared(first, pair) -> bytes:
    """The pickle of 60 objects that each hold the one before twice."""
    for _ in range(60):
        first = pair(first)
    return pickle.dumps(first, 2)


TUPLES = shared((), lambda item: (item, item))
BY_DUP = b"\x80\x02)" + b"2\x86" * 60 + b"."
NOT_WEIGHTS = "holds a list and not weights"
REFUSED = "tuples within tuples, of too many items"
PROGRAMS = {
    "lists in lists": (shared([], lambda item: [item, item]), NOT_WEIGHTS),
    "dicts in dicts": (shared({}, lambda item: {0: item, 1: item}), "holds a dict with 0, 1 and"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", NOT_WEIGHTS),
    "depth": (b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "maximum recursion depth"),
    "a key of tuples": (b"\x80\x02}" + TUPLES[2:-1] + b"K\x01s.", REFUSED),
    "a key of copies": (b"\x80\x02}" + BY_DUP[2:-1] + b"K\x01s.", REFUSED),
    "a long table": (b"\x80\x02Nr\xff\xff\xff\x7f.", "remembers an object as number 2147483647"),
}
KINDS = {"pickle": lambda program: program, "zip": zip_of, "legacy": legacy_of}


@pytest.fixture
def soon():
    """End the test by an error after some seconds, where Python itself is what takes long."""

    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program, sentence", PROGRAMS.values(), ids=PROGRAMS)
def test_a_pickle_that_would_take_for_ever_ends_in_one_sentence(
    tmp_path, soon, kind, program, sentence
):
    (tmp_path / "a.pth").write_bytes(KINDS[kind](program))
    with pytest.raises(UserError, match=sentence):
        read_weights(tmp_path / "a.pth")


def test_shared_objects_of_real_files_are_read(tmp_path):
    betas, array = (0.9, 0.999), np.ones(2)
    content = {"w": array, "v": [array, betas, betas], (betas, betas): 1, "names": ("a",) * 9999}
    pickle_save(content, tmp_path / "a.pkl", 2)
    read = read_file(tmp_path / "a.pkl")
    assert read["v"][0] is read["w"] and read[betas, betas] == 1 and len(read["names"]) == 9999


def test_archives_that_hold_more_than_their_length_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**26))
    with pytest.raises(UserError, match="is a compressed archive.*archive it without compression"):
        read_file(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", bytes(2000))
        for number in range(9):  # the same bytes under further names
            more = copy.copy(archive.filelist[0])
            more.filename = f"b/data/{number}"
            archive.filelist.append(more)
    with pytest.raises(UserError, match="b.pth"):
        read_file(tmp_path / "b.pth")


def test_a_long_name_or_reason_is_shortened(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02cos\n" + b"x" * 9999 + b"\n.")
    with pytest.raises(UserError) as refused:
        read_file(tmp_path / "a.pkl")
    assert "refers to os.xxx" in str(refused.value) and len(str(refused.value)) < 700
