"""Weight files of each kind: bytes damaged, contents changed, names that would run code."""

import io
import pickle
import zipfile
from copy import deepcopy
from functools import partial

import fuzzing
import pytest
import torch
from hypothesis import strategies as st
from mutations import binaries, values
from safetensors.torch import save as save_safetensors
from torch import nn

from mvit_det.checkpoint.reading import describe_damage
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.recognition import ClassifierMViT, Recognizer


class Calls:
    """Pickles as a call of the canary."""

    def __reduce__(self):
        return fuzzing.canary, ("x",)


def model() -> nn.Module:
    torch.manual_seed(0)
    return Recognizer(
        ClassifierMViT((32, 32), embed_dim=4, num_heads=1, last_block_indexes=(0, 1)), 3
    )


def of_torch(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def of_pickle(content, protocol: int) -> bytes:
    return pickle.dumps(arrays(content), protocol)


def arrays(content):
    """Replace tensors by arrays."""
    if isinstance(content, dict):
        return {key: arrays(value) for key, value in content.items()}
    if isinstance(content, list):
        return list(map(arrays, content))
    plain = isinstance(content, torch.Tensor) and content.layout == torch.strided
    return content.float().numpy() if plain and not content.is_meta else content


def of_safetensors(content) -> bytes:
    tensors = content.get("model") if isinstance(content, dict) else None
    tensors = tensors if isinstance(tensors, dict) else {}
    return save_safetensors(
        {
            str(k).encode("utf-8", "replace").decode(): v.contiguous()
            for k, v in tensors.items()
            if isinstance(v, torch.Tensor) and v.layout == torch.strided and not v.is_meta
        }
    )


KINDS = {
    "zip": of_torch,
    "legacy": partial(of_torch, _use_new_zipfile_serialization=False),
    "pickle 2": partial(of_pickle, protocol=2),
    "pickle 4": partial(of_pickle, protocol=4),
    "safetensors": of_safetensors,
}
TENSORS = [
    torch.zeros(0),
    torch.tensor(1.0),
    torch.ones(3),
    torch.ones(2, 2, 1, 1),
    torch.ones(4, 3),
]
TENSORS += [torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.complex64)]
TENSORS += [torch.full((4,), float("nan")), torch.ones(4, dtype=torch.bfloat16), torch.ones(2) > 0]
TENSORS += [torch.ones(1).expand(10**6), torch.eye(3).to_sparse(), torch.ones(4, device="meta")]
TENSORS += [nn.Parameter(torch.ones(4)), torch.ones(3, 5).T]
NAMES = ["model", "state_dict", "model_ema", "module.x", "patch_embed.proj.weight", "norm.weight"]
NAMES += ["blocks.999.attn.qkv.weight", "head.projection.weight", "0", "x" * 3000, "\ud800", ""]


@st.composite
def contents(draw, valid: dict) -> dict:
    """Draw the content of a file with one to three changes."""
    flat = {"model": dict(valid), "iteration": 3, "optimizer": {"state": {0: {"step": 1.0}}}}
    document = {key: dict(each) if isinstance(each, dict) else each for key, each in flat.items()}
    for _ in range(draw(st.integers(1, 3))):
        weights = document["model"] if isinstance(document.get("model"), dict) else document
        if not weights:
            break
        name = draw(st.sampled_from(list(weights)))
        kind = draw(st.integers(0, 7))
        if kind == 0:
            del weights[name]
        elif kind == 1:
            weights[draw(st.sampled_from(NAMES))] = weights.pop(name)
        elif kind == 2:
            weights[name] = draw(st.sampled_from(TENSORS))
        elif kind == 3:
            weights[name] = deepcopy(draw(values))
        elif kind == 4:
            prefix = draw(st.sampled_from(["module.", "backbone.", "_orig_mod.", "model.", "ema."]))
            document["model"] = {f"{prefix}{key}": value for key, value in weights.items()}
        elif kind == 5:
            document = {draw(st.sampled_from(NAMES)): document}
        elif kind == 6:
            name = draw(st.sampled_from(NAMES))
            document[name] = deepcopy(draw(values | st.sampled_from(TENSORS)))
        else:
            document["args"] = Calls()
    return document


@st.composite
def files(draw, valid: dict, kind: str, whole: bytes) -> bytes:
    """Draw a file whose content, list of contents, or bytes have faults.

    ``whole`` is the file of ``valid``; pickle does not write the same bytes each time.
    """
    which = draw(st.integers(0, 3))
    if which == 0:
        return draw(binaries(whole, head=600))
    if which == 1:
        names = [b"fuzzing\ncanary", b"os\nsystem", b"builtins\neval", b"numpy\nload", b"x\n\xff"]
        known = [b"collections\nOrderedDict", b"torch._utils\n_rebuild_tensor_v2", b"numpy\ndtype"]
        pair = draw(st.sampled_from(known)), draw(st.sampled_from(names))
        return with_list(draw, whole, pair)
    content = draw(contents(valid["model"]))
    try:
        return KINDS[kind](content)
    except (TypeError, ValueError, AttributeError, NotImplementedError, RuntimeError):
        return whole  # it cannot be written in this way


def with_list(draw, whole: bytes, names: tuple[bytes, bytes]) -> bytes:
    """Change a name or bytes in the list of contents of a file; in a zip, correct its checksum."""
    if not whole.startswith(b"PK"):
        return whole.replace(*names)
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(new, "w") as archive:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("data.pkl"):
                content = draw(st.just(content.replace(*names)) | binaries(content))
            archive.writestr(member.filename, content)
    return new.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_weight_files(kind, fuzz, tmp_path):
    network = model()
    valid = {"model": network.state_dict(), "iteration": 3}
    path = tmp_path / "w.pth"

    def read(data: bytes):
        path.write_bytes(data)
        describe_damage(path)
        start = StrictCheckpointer(network)
        start.load(str(path), checkpointables=[])
        StrictCheckpointer(network, complete=True).load(str(path), checkpointables=[])

    whole = KINDS[kind](valid)
    fuzz(whole, files(valid, kind, whole), read, short=25)
