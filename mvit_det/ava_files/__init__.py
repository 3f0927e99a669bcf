"""Readers and writers of AVA's files: annotations, person boxes, detections, label maps.

Ambiguous input (a malformed number, a missing column, boxes in pixels, a file of another kind)
raises a `UserError`. Everything else is returned as written, even a box without area: the caller
decides whether such a row is usable.
"""

from mvit_det.ava_files.boxes import PER_ROW, BoxTable, read_boxes
from mvit_det.ava_files.detections import detections_table, write_detections
from mvit_det.ava_files.label_map import read_label_map
from mvit_det.ava_files.rows import read_excluded
