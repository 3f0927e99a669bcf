"""Checks of annotations: any value is a finding, a sentence, or can be used."""

import json

from coco_mutations import mutated, sound
from PIL import Image

from mvit_det.data.checks.boxes import check_boxes
from mvit_det.data.checks.findings import Finding
from mvit_det.data.detection.annotations import check_coco_json
from mvit_det.errors import UserError


def refusal(path) -> str:
    try:
        check_coco_json(path)
    except UserError as error:
        return str(error)
    return ""


def test_what_a_training_refuses_is_among_the_findings_of_a_check(tmp_path):
    for image in sound()[0]["images"]:
        Image.new("RGB", (64, 48)).save(tmp_path / image["file_name"])
    path, several = tmp_path / "truth.json", 0
    node = {"json_file": str(path), "image_root": str(tmp_path)}
    for seed in range(400):
        path.write_bytes(mutated(seed)[0])
        refused, sentences = refusal(path), []
        try:
            found = list(check_boxes(node, None, lambda width, height: (1.0, 1.0)))
        except UserError as error:
            sentences, found = [str(error)], []
        reports = [[each] if isinstance(each, Finding) else each.run().findings for each in found]
        findings = [finding for report in reports for finding in report]
        json.dumps([finding.ids for finding in findings])
        formats = [x for x in findings if x.kind == "annotation format"]
        sentences += [f"{x.file}: {x.message}." for x in formats]
        several += len(sentences) > 1
        if refused:
            assert refused in sentences, seed
        else:
            assert not sentences or "Image folder" in sentences[0], (seed, sentences)
    assert several > 5
