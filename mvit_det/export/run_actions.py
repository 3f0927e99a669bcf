"""Predict actions with the exported model of this folder, without PyTorch.

    python run.py --output FOLDER --boxes FILE.csv [--score-threshold 0.5] VIDEO ...

Rows of the csv are video,second,x1,y1,x2,y2,... as in AVA: the name without suffix, fractions of
the frame. It needs numpy, av and onnxruntime or openvino, and writes what mvit_det.predict does.
"""

import argparse
import csv
import json
import math
from collections import defaultdict
from pathlib import Path

import av
import numpy as np

MODEL = json.loads(Path(__file__).with_name("model.json").read_text("utf-8"))
RULE = MODEL["preprocessing"]


def load_model():
    """Return a function from clips, boxes and the clip of each box to scores."""
    path, names = Path(__file__).with_name("model.onnx"), list(MODEL["inputs"])
    if MODEL["format"] == "onnx":
        import onnxruntime as ort

        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda *arrays: session.run(["scores"], dict(zip(names, arrays)))[0]
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}  # types are those of the file
    model = openvino.Core().compile_model(path.with_suffix(".xml"), "CPU", hint)
    return lambda *arrays: model(list(arrays))["scores"]


def read_boxes(path):
    """Return video -> second -> boxes (N, 4), each box once."""
    boxes: defaultdict = defaultdict(lambda: defaultdict(dict))
    with open(path, newline="", encoding="utf-8") as file:
        for video, second, *numbers in csv.reader(file):
            found = boxes[video][float(second)]
            if numbers and numbers[0]:  # otherwise a key frame without people
                found[tuple(map(float, numbers[:4]))] = None
    return boxes


def read_video(path) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds (N,) at which frames begin, and the frames (N, H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        frames = [(f, f.to_ndarray(format="rgb24")) for f in container.decode(stream)]
    times = np.sort([f.time - start for f, _ in frames])  # some formats have them out of order
    return times, np.rot90(np.stack([x for _, x in frames]), frames[0][0].rotation // 90, (1, 2))


def on_screen(times, seconds):
    """Return the index of the frame on screen at each time; 2 microseconds are rounding."""
    return np.maximum(np.searchsorted(times, np.asarray(seconds) + 2e-6, side="right") - 1, 0)


def sample_clip(times, second):
    """Return the frame indices of the clip around a key frame."""
    rule = RULE["sampling"]
    steps = np.arange(rule["num_frames"]) * rule["sampling_rate"]
    steps = steps - rule["num_frames"] * rule["sampling_rate"] // 2
    return on_screen(times, second + steps / rule["target_fps"])


def resized_size(height, width):
    """Return the size of frames whose shorter side is resized, large enough for the crop."""
    short, crop, least = RULE["short_side"], RULE["size"] or (1, 1), min(height, width)
    size = [n if least == short else int(n / least * short) for n in (height, width)]
    larger = max(1, *(c / n for c, n in zip(crop, size)))
    return tuple(max(c, round(n * larger)) for c, n in zip(crop, size))


def resize(frames, size):
    """Resize (T, H, W, 3) bilinearly, without antialiasing, to float32 (3, T, h, w)."""
    result = frames.astype(np.float32)
    for axis, length in zip((1, 2), size):
        old = result.shape[axis]
        if old != length:
            at = ((np.arange(length, dtype="f4") + 0.5) * np.float32(old / length) - 0.5).clip(0)
            low = at.astype(np.int64).clip(max=old - 1)
            part = (at - low).astype(np.float32).reshape(-1, *[1] * (3 - axis))
            high = result.take(np.minimum(low + 1, old - 1), axis)
            result = result.take(low, axis) * (1 - part) + high * part
    return result.transpose(3, 0, 1, 2)


def prepare(frames, boxes):
    """Return a normalised clip (1, 3, T, h, w), and the boxes in its pixels."""
    frame = frames.shape[1:3]
    size = resized_size(*frame)
    height, width = RULE["size"] or size
    top, left = (math.ceil((n - m) / 2) for n, m in zip(size, (height, width)))
    clip = resize(frames, size)[..., top : top + height, left : left + width]
    mean, std = (255 * np.array(RULE[k], np.float32).reshape(3, 1, 1, 1) for k in ("mean", "std"))
    # both axes are scaled by the factor of the longer side
    boxes = boxes.astype(np.float32) * np.array([*frame[::-1]] * 2, np.float64)
    boxes = boxes.clip(0, np.array([*frame[::-1]] * 2) - 1) * (max(size) / max(frame))
    boxes = (boxes - [left, top] * 2).clip(0, np.array([width, height] * 2) - 1)
    return np.ascontiguousarray((clip - mean) / std, np.float32)[None], boxes.astype(np.float32)


def detect(model, frames, boxes, image_id, threshold):
    """Return one entry per box of a key frame, with its actions, best first."""
    clip, inside = prepare(frames, boxes)
    rows, (height, width) = [], frames.shape[1:3]
    for box, scores in zip(boxes, model(clip, inside, np.zeros(len(boxes), np.int64))):
        known = [(float(scores[c["id"] - 1]), c) for c in MODEL["categories"]]
        kept = sorted((pair for pair in known if pair[0] >= threshold), key=lambda pair: -pair[0])
        classes = [{"category_id": c["id"], "name": c["name"], "score": s} for s, c in kept]
        pixels = [*(box[:2] * [width, height]), *((box[2:] - box[:2]) * [width, height])]
        bbox = [round(float(x), 2) for x in pixels]
        rows.append({"image_id": image_id, "bbox": bbox, "classes": classes})
    return rows


def main():
    """Detect the actions in the videos of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--boxes", required=True, metavar="FILE.csv")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="S")
    parser.add_argument("videos", nargs="+", type=Path)
    args = parser.parse_args()
    model, by_video = load_model(), read_boxes(args.boxes)
    rows, images = list[dict](), list[dict]()
    for path in args.videos:
        times, frames = read_video(path)
        for second, boxes in sorted(by_video[path.stem].items()):
            clip, image_id = frames[sample_clip(times, second)], len(images) + 1
            if boxes:
                rows += detect(model, clip, np.array(list(boxes)), image_id, args.score_threshold)
            frame = int(on_screen(times, second))
            images.append({"id": image_id, "file_name": str(path), "frame": frame})
    args.output.mkdir(parents=True, exist_ok=True)
    companion = {"images": images, "categories": MODEL["categories"]}
    for name, content in (("predictions", rows), ("images", companion)):
        (args.output / f"{name}.json").write_text(json.dumps(content), "utf-8")
    print(f"{len(rows)} boxes are in {args.output}.")


if __name__ == "__main__":
    main()
