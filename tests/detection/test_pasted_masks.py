"""Masks that are pasted on demand: the host's masks, without ever holding all of them."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.layers import paste_masks_in_image
from detectron2.structures import Boxes, Instances
from test_rcnn import SIZES, ours, parent, run
from toy_model import toy_inputs

from mvit_det.detection import pasted_masks
from mvit_det.detection.pasted_masks import PastedMasks
from mvit_det.evaluation import CocoMetrics
from mvit_det.tasks.detection import BoxInference

SIZE = (70, 90)


def example():
    """Masks of boxes inside, across and outside the border; and what the host makes of them."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(9, 4, generator=generator) * 80 - 10
    corners[:, 2:] = corners[:, :2] + corners[:, 2:].abs() + 0.3
    masks = torch.rand(9, 28, 28, generator=generator)
    return PastedMasks(masks, corners, SIZE), paste_masks_in_image(masks, Boxes(corners), SIZE)


def test_every_part_equals_the_masks_of_the_host():
    masks, expected = example()
    assert expected.any() and len(masks) == 9 and masks.shape == expected.shape
    for one, other in zip(masks, expected, strict=True):
        assert one.dtype == torch.bool and torch.equal(one, other)
    for index in (0, -1, np.int64(3)):
        assert torch.equal(masks[index], expected[index])
    order = torch.tensor([5, 1, 1])
    for item in (slice(2, 7), order, order.tolist(), expected.flatten(1).sum(1) > 99, slice(0)):
        assert isinstance(masks[item], PastedMasks)
        assert torch.equal(masks[item].tensor, expected[item])
    for same in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks)), masks.to("cpu")):
        assert torch.equal(same.tensor, expected)
    with pytest.raises(IndexError):
        masks[9]


def test_they_serve_where_a_tensor_is_expected():
    masks, expected = example()
    assert np.array_equal(np.asarray(masks), expected) and np.array(masks, int).dtype == int
    assert torch.equal(masks.any(dim=0), expected.any(dim=0))
    assert torch.equal(torch.stack([masks, masks])[1], expected) and (masks == expected).all()
    assert torch.equal(masks[:, 3:5], expected[:, 3:5])
    both = Instances.cat([Instances(SIZE, pred_masks=masks), Instances(SIZE, pred_masks=masks)])
    assert torch.equal(both[9:].pred_masks.tensor, expected) and isinstance(
        both.pred_masks, PastedMasks
    )


def test_no_step_of_a_run_holds_more_than_one_mask(monkeypatch, tmp_path):
    model = parent("mask")
    inputs = [{**x, "image_id": i} for i, x in enumerate(toy_inputs(0, SIZES))]
    plain = run(model, inputs)
    pasted = []

    def paste(masks, boxes, size):
        pasted.append(len(masks))
        return paste_masks_in_image(masks, boxes, size)

    monkeypatch.setattr(pasted_masks, "paste_masks_in_image", paste)
    outputs = run(ours(model), inputs)
    assert not pasted
    path = tmp_path / "truth.json"
    boxes = [
        dict(id=i + 1, image_id=i, category_id=1, bbox=[9, 9, 30, 40], area=1200, iscrowd=0)
        | dict(segmentation=[[9, 9, 39, 9, 39, 49, 9, 49]])
        for i in range(2)
    ]
    images = [dict(id=i, height=h, width=w, file_name="x") for i, (h, w) in enumerate(SIZES)]
    names = [dict(id=k, name=f"c{k}") for k in range(model.roi_heads.num_classes)]
    path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=names)))
    name = f"pasted {tmp_path}"
    MetadataCatalog.get(name).set(
        json_file=str(path), thing_dataset_id_to_contiguous_id={k["id"]: k["id"] for k in names}
    )
    for kind in (CocoMetrics, COCOEvaluator):
        written = []
        for part, found in (("ours", outputs), ("host's", plain)):
            evaluator = kind(name, output_dir=str(tmp_path / part))
            evaluator.reset()
            evaluator.process(inputs, found)
            evaluator.evaluate()
            written.append((tmp_path / part / "coco_instances_results.json").read_text())
        assert written[0] == written[1] and '"counts"' in written[0]
    inference = BoxInference(lambda image: None, "BGR")
    image = np.zeros((200, 300, 3), np.uint8)
    found, expected = inference.results([outputs[0], plain[0]])
    assert np.array_equal(*(inference.draw(image, each, names) for each in (found, expected)))
    assert len(list(inference.rows(found, 1, names))) == 20
    assert set(pasted) == {1}


def test_the_visualizer_of_detectron2_draws_them():
    visualizer = pytest.importorskip("detectron2.utils.visualizer")
    masks, expected = example()
    drawn = []
    for each in (masks, expected):
        instances = Instances(SIZE, pred_masks=each, pred_classes=torch.zeros(9, dtype=int))
        for mode in (visualizer.ColorMode.IMAGE_BW, visualizer.ColorMode.IMAGE):
            image = np.full((*SIZE, 3), 90, np.uint8)
            visual = visualizer.Visualizer(image, instance_mode=mode)
            np.random.seed(0)
            drawn.append(visual.draw_instance_predictions(instances).get_image())
    assert np.array_equal(drawn[0], drawn[2]) and np.array_equal(drawn[1], drawn[3])
    assert (drawn[0] != 90).any()
