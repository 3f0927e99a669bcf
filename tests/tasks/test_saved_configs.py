"""Configs saved before configs named their task still train, evaluate and predict."""

from pathlib import Path

import pytest
from detectron2.config import instantiate

from mvit_det.engine import load_config
from mvit_det.evaluation import UnreadableImages
from mvit_det.tasks import ActionDetection, Classification, Detection, VideoClassification, task_of

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "configs"
CONFIGS = {  # file -> task, number of classes, metric of its evaluators
    "quickstart": (Detection, 5, "CocoMetrics"),
    "quickstart_cascade": (Detection, 5, "CocoMetrics"),
    "quickstart_pretrained": (Detection, 5, "CocoMetrics"),
    "quickstart_classification": (Classification, 6, "ClassificationAccuracy"),
    "quickstart_video": (VideoClassification, 10, "ViewAccuracy"),
    "quickstart_actions": (ActionDetection, 8, "ActionMetrics"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_each_quickstart(name, datasets_folder, tmp_path):
    kind, classes, metric = CONFIGS[name]
    cfg = load_config(str(FOLDER / f"{name}.yaml"))
    assert "task" not in cfg
    task = task_of(cfg)
    assert type(task) is kind
    categories = task.categories(cfg)  # saved ones, which are those of the data
    assert task.data_categories(cfg) == categories and len(categories) == classes
    assert "17" in task.inference(cfg, 0.5).summary(17)
    instantiate(cfg.model)
    cfg.train.output_dir = str(tmp_path)
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        data = loader.dataset.get("dataset", loader.dataset)
        data.update(num_train=12, num_val=12)
        loader.num_workers = 0
        assert next(iter(instantiate(loader)))
    measure, *_, unreadable = instantiate(cfg.dataloader.evaluator)
    assert type(measure).__name__ == metric and isinstance(unreadable, UnreadableImages)
