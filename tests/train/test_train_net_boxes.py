"""Custom data without masks: the run trains, resumes, evaluates and predicts boxes alone."""

import json

import pytest
from train_runs import QUICKSTART, TINY, custom_flags, lines, start

from mvit_det.data.detection import custom
from mvit_det.predict.__main__ import argument_parser, main

pytestmark = pytest.mark.usefixtures("datasets_folder")


def test_a_file_without_masks_trains_resumes_evaluates_and_predicts_boxes(
    custom_files, tmp_path, monkeypatch
):
    flags = custom_flags(custom_files)
    for index, split in ((1, "train"), (5, "val")):
        coco = json.loads((custom_files / split / "annotations.json").read_text())
        for annotation in coco["annotations"]:
            annotation["segmentation"] = []
        path = tmp_path / f"{split}.json"
        path.write_text(json.dumps(coco))
        flags[index] = str(path)
    output = tmp_path / "run"
    common = [
        *("train.checkpointer.period=1", "train.log_period=1", "train.eval_period=0"),
        f"train.output_dir={output}",
    ]
    messages: list[str] = []
    monkeypatch.setattr(custom.logger, "info", lambda text, *args: messages.append(text % args))
    start("--config-file", QUICKSTART, *flags, *TINY, "train.max_iter=1", *common)
    assert "".join(messages).count("train.json has no masks") == 1

    start("--resume", output, "train.max_iter=2", *common)
    names = {name for row in lines(output) for name in row}
    assert "loss_box_reg" in names and "bbox/AP" in names
    assert not [name for name in names if "mask" in name or "segm" in name]

    weights = output / "model_final.pth"
    start("--eval-only", output, f"train.init_checkpoint={weights}", *common)
    results = json.loads((output / "coco_instances_results.json").read_text())
    assert results and not any("segmentation" in row for row in results)

    words = ["--config-file", output / "config.yaml", "--weights", weights]
    words += [custom_files / "val" / "images", "--output", tmp_path / "found"]
    main(argument_parser().parse_args(list(map(str, words + ["--score-threshold", "0"]))))
    found = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert found and not any("segmentation" in row for row in found)
