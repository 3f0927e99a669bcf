"""Predict videos with the exported model of this folder, without PyTorch.

    python run.py --output FOLDER VIDEO ...

It needs numpy, av and onnxruntime or openvino, and writes predictions.json and images.json as
``python -m mvit_det.predict`` does.
"""

import argparse
import json
import math
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np

MODEL = json.loads(Path(__file__).with_name("model.json").read_text("utf-8"))
RULE = MODEL["preprocessing"]


def load_model():
    """Return a function from clips to scores."""
    path = Path(__file__).with_name("model.onnx")
    if MODEL["format"] == "onnx":
        import onnxruntime as ort

        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda clips: session.run(["scores"], {"inputs": clips})[0]
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}  # types are those of the file
    model = openvino.Core().compile_model(path.with_suffix(".xml"), "CPU", hint)
    return lambda clips: model([clips])["scores"]


def read_video(path) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds (N,) at which frames begin, and the frames (N, H, W, 3) uint8 RGB."""
    times, frames, graph, side = [], [], None, RULE["decode_short_side"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        for frame in container.decode(stream):
            times.append(frame.time - start)  # out of order in some formats
            if side is None:
                frames.append(frame.to_ndarray(format="rgb24"))
                continue
            if graph is None:  # halves are rounded up
                graph, short = av.filter.Graph(), min(frame.width, frame.height)
                sides = [(2 * s * side + short) // (2 * short) for s in (frame.width, frame.height)]
                scale = "{}:{}:flags=area".format(*sides)
                steps = (("scale", scale), ("format", "rgb24"), ("buffersink",))
                chain = [graph.add_buffer(template=stream), *(graph.add(*step) for step in steps)]
                graph.link_nodes(*chain).configure()
            graph.push(frame)
            frames.append(np.asarray(graph.pull().to_ndarray(), np.uint8))
    return np.sort(times), np.rot90(np.stack(frames), frame.rotation // 90, (1, 2))


def sample_clip(times, clip, clips):
    """Return the frame indices of one of evenly spaced clips."""
    rule, count = RULE["sampling"], RULE["sampling"]["num_frames"]
    if rule["rule"] == "SegmentSampling":
        edges = np.round(np.arange(count + 1) * ((len(times) - 1) / count)).astype(np.int64)
        return edges[:-1] + (edges[1:] - edges[:-1]) * (2 * clip + 1) // (2 * clips)
    rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9) if len(times) > 1 else 1.0
    exact = float(Fraction(rate).limit_denominator(1001))  # such as 30000/1001
    rate = exact if math.isclose(rate, exact, rel_tol=1e-9) else rate
    span = max(1.0, count * rule["sampling_rate"] / rule["target_fps"] * rate)
    slack = max(len(times) - span, 0)
    start = slack // 2 if clips == 1 else clip * (slack // (clips - 1))
    first, last = np.float32(start), np.float32(start + span - 1)
    step = (last - first) / np.float32(max(count - 1, 1))
    steps = np.arange(count, dtype=np.float32)
    positions = np.where(steps < count / 2, first + step * steps, last - step * (count - 1 - steps))
    grid, begins = np.arange(len(times)), (times - times[0]) * rate
    grid = begins if np.abs(begins - grid).max() > 1e-3 else grid
    return np.searchsorted(grid, positions.clip(0, len(times) - 1), side="right") - 1


def resized_size(height, width):
    """Return the size of frames whose shorter side is resized, large enough for the crop."""
    short, crop, least = RULE["short_side"], RULE["size"], min(height, width)
    size = [n if least == short else int(n / least * short) for n in (height, width)]
    larger = max(1, *(c / n for c, n in zip(crop, size)))
    return tuple(max(c, round(n * larger)) for c, n in zip(crop, size))


def corners(size):
    """Return top and left of each crop."""
    spare = [side - part for side, part in zip(size, RULE["size"])]
    centre = [math.ceil(margin / 2) for margin in spare]
    axis = 0 if spare[0] > spare[1] else 1
    offsets = [centre[axis]] if RULE["crops"] == 1 else [0, centre[axis], spare[axis]]
    return [(o, centre[1]) if axis == 0 else (centre[0], o) for o in offsets]


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


def prepare(frames):
    """Return the normalised crops (crops, 3, T, h, w) of a clip."""
    size = resized_size(*frames.shape[1:3])
    clip, (height, width) = resize(frames, size), RULE["size"]
    clips = [clip[..., y : y + height, x : x + width] for y, x in corners(size)]
    mean, std = (255 * np.array(RULE[k], np.float32).reshape(3, 1, 1, 1) for k in ("mean", "std"))
    return np.ascontiguousarray((np.stack(clips) - mean) / std, np.float32)


def classify(model, path, image_id):
    """Return the entry of a whole video, whose scores are the mean over clips and crops."""
    times, frames = read_video(path)
    clips = [sample_clip(times, k, RULE["clips"]) for k in range(RULE["clips"])]
    scores = np.mean([model(c[None])[0] for clip in clips for c in prepare(frames[clip])], axis=0)
    names = [{"category_id": c["id"], "name": c["name"]} for c in MODEL["categories"]]
    rows = [{**names[k], "score": float(scores[k])} for k in np.argsort(-scores, kind="stable")[:5]]
    return {"image_id": image_id, "classes": rows}


def main():
    """Classify the videos of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("videos", nargs="+", type=Path)
    args = parser.parse_args()
    model = load_model()
    images = [{"id": k, "file_name": str(path)} for k, path in enumerate(args.videos, start=1)]
    rows = [classify(model, image["file_name"], image["id"]) for image in images]
    args.output.mkdir(parents=True, exist_ok=True)
    companion = {"images": images, "categories": MODEL["categories"]}
    for name, content in (("predictions", rows), ("images", companion)):
        (args.output / f"{name}.json").write_text(json.dumps(content), "utf-8")
    print(f"The classes of {len(rows)} videos are in {args.output}.")


if __name__ == "__main__":
    main()
