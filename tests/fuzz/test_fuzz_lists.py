"""Lists of videos, AVA's csv files, label maps, class files: their readers, each on its format."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st
from image_sets import jpeg, write_tar
from mutations import json_files, text_files

from mvit_det.ava_files import read_boxes, read_excluded, read_label_map
from mvit_det.data.actions.videos import read_frame_lists
from mvit_det.data.class_labels import given_classes
from mvit_det.data.classification.tar_files import shard_index
from mvit_det.data.video.lists import read_video_list
from mvit_det.errors import UserError
from mvit_det.predict.person_boxes import read_any_boxes
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
LABELS = {f"Moving something {n}": str(n) for n in range(3)}
PBTXT = 'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nitem { name: "sit" id: 3 }\n'
KINETICS = (
    'label,youtube_id,time_start,time_end,split\n"air drumming",abc,1,11,train\nyoga,-d,0,10,a\n'
)


def of_tar(path: Path) -> None:
    members = {"1.jpg": jpeg(1), "1.cls": path.read_bytes(), "2.jpg": jpeg(2), "2.cls": b"1"}
    shard_index(write_tar(path.with_suffix(".tar"), members))


def of_labels(path: Path) -> None:
    path.with_name("train.json").write_text(json.dumps(ENTRIES))
    read_video_list(path.with_name("train.json"))


def boxes(kind: str) -> Callable[[Path], object]:
    return lambda path: read_boxes(path, kind)


# reader -> (file, valid content: text, or a JSON document, function of the path)
READERS: dict[str, tuple[str, object, Callable[[Path], object]]] = {
    "path and label": ("l.txt", "a/1.mp4 3\nb/2.mp4 0\nc d/3.mp4 11\n", read_video_list),
    "comma": ("l.csv", 'path,label\n"a/1.mp4",3\nb.mp4,0\n', read_video_list),
    "frame counts": ("l.txt", "a/1 300 3\nb/2 299 0\nc/3 12 7\n", read_video_list),
    "kinetics": ("train.csv", KINETICS, read_video_list),
    "something": ("train.json", ENTRIES, read_video_list),
    "classes of something": ("labels.json", LABELS, of_labels),
    "frame list": ("train.csv", FRAMES, read_video_list),
    "frames of actions": ("frames.csv", FRAMES, lambda path: read_frame_lists([path])),
    "classes": ("c.txt", "n01440764\ttench\ncat\n\ndog\ta dog\n", given_classes),
    "numbered classes": ("c.json", {"cat": 0, '"a dog"': "1", "eel": 2}, given_classes),
    "names": ("n.txt", "cat\ndog\neel\n", Classification().given_categories),
    "names of actions": ("n.txt", "1: cat\n4: dog\n", ActionDetection().given_categories),
    "label map": ("m.pbtxt", PBTXT, read_label_map),
    "lines of a label map": ("m.txt", "# two\n1: stand\n12: sit: down\n", read_label_map),
    "actions": ("a.csv", BOXES.format(1, 80, 0), boxes("actions")),
    "proposals": ("p.csv", BOXES.format(902, "", 0.9), boxes("proposals")),
    "detections": ("d.csv", BOXES.format(7, 12, 1e-7), boxes("detections")),
    "any boxes": ("b.csv", BOXES.format(902, "", 0.9), read_any_boxes),
    "excluded": ("e.csv", "video,second\nv,0902\nw,7.5\n", read_excluded),
    "label in a tar file": ("1.cls", "2", of_tar),
}


@pytest.mark.parametrize("name", READERS)
def test_lists(name, fuzz, tmp_path):
    file, content, read = READERS[name]
    path = tmp_path / file

    def read_file(data):
        path.write_bytes(data)
        try:
            read(path)
        except UserError as error:
            assert path.stem in str(error), error  # it names the file
            raise

    if isinstance(content, str):
        text, inputs = content, text_files(content)
    else:
        text = json.dumps(content)
        inputs = st.one_of(json_files(content), text_files(text))
    fuzz(text.encode(), inputs, read_file, short=30)
