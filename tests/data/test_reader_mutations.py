"""Seeded mutations of lists, csv files, label maps and class files: read, or one sentence."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from image_sets import jpeg, write_tar

from mvit_det.ava_files import read_boxes, read_excluded, read_label_map
from mvit_det.data.actions.videos import read_frame_lists
from mvit_det.data.class_labels import given_classes
from mvit_det.data.classification.tar_files import shard_index
from mvit_det.data.video.lists import read_video_list
from mvit_det.errors import UserError, printable
from mvit_det.tasks import ActionDetection, Classification

BOXES = "v{0},{0},0.1,0.2,0.3,0.4,{1},{2}\nw,5.5,0.1,0.2,0.3,0.4,2,{2}\n"
FRAMES = "original_vido_id video_id frame_id path labels\n" + "".join(
    f'{video} {video} {frame} {video}/{frame:06}.jpg "{video % 3}"\n'
    for video in range(4)
    for frame in range(3)
)
ENTRIES = [
    dict(id=str(n), template=f"Moving [something] {n % 3}", placeholders=[]) for n in range(5)
]
PBTXT = 'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nitem { name: "sit" id: 3 }\n'
KINETICS = (
    'label,youtube_id,time_start,time_end,split\n"air drumming",abc,1,11,train\nyoga,-d,0,10,a\n'
)


def of_tar(path: Path) -> object:
    members = {"1.jpg": jpeg(1), "1.cls": path.read_bytes(), "2.jpg": jpeg(2), "2.cls": b"1"}
    return shard_index(write_tar(path.with_suffix(".tar"), members))


# reader -> (file, valid content, function of the path)
READERS: dict[str, tuple[str, str, Callable]] = {
    "path and label": ("l.txt", "a/1.mp4 3\nb/2.mp4 0\nc d/3.mp4 11\n", read_video_list),
    "comma": ("l.csv", 'path,label\n"a/1.mp4",3\nb.mp4,0\n', read_video_list),
    "frame counts": ("l.txt", "a/1 300 3\nb/2 299 0\nc/3 12 7\n", read_video_list),
    "kinetics": ("train.csv", KINETICS, read_video_list),
    "something": ("train.json", json.dumps(ENTRIES), read_video_list),
    "frame list": ("train.csv", FRAMES, read_video_list),
    "frames of actions": ("frames.csv", FRAMES, lambda path: read_frame_lists([path])),
    "classes": ("c.txt", "n01440764\ttench\ncat\n\ndog\ta dog\n", given_classes),
    "numbered classes": ("c.json", '{"cat": 0, "\\"a dog\\"": "1", "eel": 2}', given_classes),
    "names": ("n.txt", "cat\ndog\neel\n", Classification().given_categories),
    "names of actions": ("n.txt", "1: cat\n4: dog\n", ActionDetection().given_categories),
    "label map": ("m.pbtxt", PBTXT, read_label_map),
    "lines of a label map": ("m.txt", "# two\n1: stand\n12: sit: down\n", read_label_map),
    "actions": ("a.csv", BOXES.format(1, 80, 0), lambda path: read_boxes(path, "actions")),
    "proposals": ("p.csv", BOXES.format(902, "", 0.9), lambda path: read_boxes(path, "proposals")),
    "detections": ("d.csv", BOXES.format(7, 12, 1e-7), lambda path: read_boxes(path, "detections")),
    "excluded": ("e.csv", "video,second\nv,0902\nw,7.5\n", read_excluded),
    "label in a tar file": ("1.cls", "2", of_tar),
}
VALUES = [
    "",
    "-1",
    "1.5",
    "1e999",
    "nan",
    "-inf",
    "null",
    "true",
    "1_0",
    "0x10",
    "{}",
    '"x',
    "None",
]
VALUES += ["\uff11", "\u00b2", "\u2028", "\ud800"]
VALUES += ["9" * 20, "9" * 5000, "[" * 20_000, "x" * 140_000]
CHARACTERS = "\0\t,; \"'\\{}[]:#\r\n\x85\x1c\ufeff"


def mutated(text: str, rng: random.Random) -> bytes:
    """One to three changes of a text, then perhaps one of its bytes."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True) or [""]
        row, place = rng.randrange(len(lines)), rng.randrange(len(text) + 1)
        words = list(re.finditer(r"[\w.]+|\W", text)) or [re.match("", text)]
        word, value = rng.choice(words), rng.choice(VALUES)
        numbers = list(re.finditer(r"[0-9.]+", text)) or words
        number = rng.choice(numbers)
        changed = [text[: at.start()] + value + text[at.end() :] for at in (word, number)]
        changed += [text[:place] + rng.choice(CHARACTERS) + text[place:], text[:place]]
        changed += [text.replace(rng.choice(", \t"), rng.choice(",; \t"))]
        changed += [text.replace("\n", rng.choice(["\r\n", "\r", "\n\n"]))]
        changed += ["".join([*lines[:row], lines[row], *lines[row:]])]
        changed += ["".join([*lines[:row], *lines[row + 1 :]])]
        changed += ["".join(rng.sample(lines, len(lines)))]
        text = rng.choice(changed)
    data = text.encode("utf-8", "surrogatepass")
    place = rng.randrange(len(data) + 1)
    more = [b"\xef\xbb\xbf" + data, text.encode("utf-16", "surrogatepass"), b"", b"\xff" + data]
    more += [data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]]
    return rng.choice([data] * 12 + more)


def check(name: str, folder: Path, seeds: range) -> None:
    file, text, read = READERS[name]
    read_valid = folder / file
    read_valid.write_text(text)
    read(read_valid)
    for seed in seeds:
        data = mutated(text, random.Random(f"{name} {seed}"))
        path = folder / file
        path.write_bytes(data)
        try:
            read(path)
        except UserError as error:
            sentence = str(error)
            assert len(sentence) < 1500 and printable(sentence) == sentence, (seed, sentence[:1500])
            assert path.stem in sentence and sentence.endswith("."), (seed, data[:300], sentence)
        except Exception as error:
            raise AssertionError((seed, data[:300])) from error


@pytest.mark.parametrize("name", READERS)
def test_mutated_files(name, tmp_path):
    check(name, tmp_path, range(100))


@pytest.mark.release
@pytest.mark.parametrize("name", READERS)
def test_many_mutated_files(name, tmp_path):
    check(name, tmp_path, range(100, 2000))
