"""Predict with the exported model of this folder, without PyTorch.

    python run.py --output FOLDER [--score-threshold 0.5] PICTURE ...

It needs numpy, pillow and onnxruntime or openvino, and writes predictions.json and images.json as
``python -m mvit_det.predict`` does.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
MODEL = json.loads((HERE / "model.json").read_text("utf-8"))


def load_model():
    """Return a function from input arrays to output arrays by name."""
    names, outputs = list(MODEL["inputs"]), list(MODEL["outputs"])
    if MODEL["format"] == "onnx":
        import onnxruntime as ort

        session = ort.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda *x: dict(zip(outputs, session.run(outputs, dict(zip(names, x)))))
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}  # types are those of the file
    model = openvino.Core().compile_model(HERE / "model.xml", "CPU", hint)
    return lambda *x: dict(zip(outputs, model(list(x)).values()))


def resize(picture):
    """Resize a picture of Pillow by the numbers of model.json; then cut out the centre."""
    rule = MODEL["preprocessing"]["resize"]
    (width, height), short = picture.size, rule.get("short_side")
    if MODEL["task"] == "Detection" and short:  # rounded half up, the long side limited
        scale = short / min(width, height)
        sides = [short if side == min(width, height) else scale * side for side in (width, height)]
        shrink = min(1.0, (rule["max_side"] or max(sides)) / max(sides))
        size = tuple(int(side * shrink + 0.5) for side in sides)
    elif short:  # rounded down
        long = int(short * max(width, height) / min(width, height))
        size = (short, long) if width <= height else (long, short)
    else:
        size = tuple(reversed(rule.get("size", (height, width))))
    picture = picture.resize(size, getattr(Image.Resampling, rule["interpolation"].upper()))
    if MODEL["preprocessing"].get("crop"):
        height, width = MODEL["preprocessing"]["crop"]
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        picture = picture.crop((left, top, left + width, top + height))
    return picture


def detect(model, picture, categories, image_id, threshold):
    """Return the objects of a picture in COCO's result format."""
    pixels = np.asarray(resize(picture))
    if MODEL["preprocessing"]["channels"] == "BGR":
        pixels = pixels[:, :, ::-1]
    size = np.array([pixels.shape[:2]])
    images = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    axes = MODEL["inputs"]["images"]["axes"].split(",")[2:]
    if axes[0].isdigit():  # of a fixed size: padded to it
        rest = [(0, int(n) - m) for n, m in zip(axes, images.shape[2:])]
        images = np.pad(images, [(0, 0), (0, 0), *rest])
    found = model(np.ascontiguousarray(images), size)
    full = np.array(picture.size * 2, np.float32)
    scale = (full / np.tile(size[0][::-1], 2)).astype(np.float32)
    rows = []
    for index in np.flatnonzero(found["scores"] >= threshold):
        box = np.clip(found["boxes"][index] * scale, 0, full)
        if not (box[2:] > box[:2]).all():
            continue
        row = {"image_id": image_id, "category_id": categories[found["classes"][index]]["id"]}
        row["bbox"] = [*map(float, box[:2]), *map(float, box[2:] - box[:2])]
        row["score"] = float(found["scores"][index])
        if "masks" in found:
            mask = paste(found["masks"][index], box, picture.height, picture.width)
            row["segmentation"] = encode_rle(mask)
        rows.append(row)
    return rows


def paste(mask, box, height, width):
    """Resize a mask to its box by bilinear interpolation; return (height, width) bool."""

    def weights(length, start, end, cells):
        centre = (np.arange(length, dtype=np.float32) + 0.5 - start) / (end - start) * cells - 0.5
        return np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells, dtype=np.float32)))

    x0, y0, x1, y1 = box
    rows, columns = weights(height, y0, y1, len(mask)), weights(width, x0, x1, mask.shape[1])
    return rows @ mask @ columns.T >= 0.5


def encode_rle(mask):
    """Encode a mask as COCO's compressed run lengths, in order of columns."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(ends, prepend=0).tolist()
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            text += chr((digit | 32 if more else digit) + 48)
            if not more:
                break
    return {"size": list(mask.shape), "counts": text}


def classify(model, picture, categories, image_id, threshold):
    """Return the five best classes of a picture."""
    rule = MODEL["preprocessing"]
    scale, mean, std = (np.array(rule[name], np.float32) for name in ("scale", "mean", "std"))
    pixels = (np.asarray(resize(picture), np.float32) * scale - mean) / std
    (scores,) = model(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))["scores"]
    names = [{"category_id": c["id"], "name": c["name"]} for c in categories]
    rows = [{**names[k], "score": float(scores[k])} for k in np.argsort(-scores, kind="stable")[:5]]
    return [{"image_id": image_id, "classes": rows}]


def main():
    """Predict the pictures of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="S")
    parser.add_argument("pictures", nargs="+", type=Path)
    args = parser.parse_args()
    predict = {"Detection": detect, "Classification": classify}[MODEL["task"]]
    model, categories, rows, images = load_model(), MODEL["categories"], [], []
    for image_id, path in enumerate(args.pictures, start=1):
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        rows += predict(model, picture, categories, image_id, args.score_threshold)
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": image_id, "file_name": str(path), **size})
    args.output.mkdir(parents=True, exist_ok=True)
    companion = {"images": images, "categories": categories}
    for name, content in (("predictions", rows), ("images", companion)):
        (args.output / f"{name}.json").write_text(json.dumps(content), "utf-8")
    print(f"{len(rows)} results of {len(images)} pictures are in {args.output}.")


if __name__ == "__main__":
    main()
