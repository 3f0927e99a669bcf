"""The files of AVA: boxes with actions, person boxes, detections, label maps, excluded seconds.

What does not mean anything definite (a broken number, a missing column, boxes in pixels, a file of
another kind) is refused in one sentence. What is definite is handed out as written, also a box
without area: whether such a row is of use is for the reader of the table to say.
"""

from mvit_det.ava_files.boxes import PER_ROW, BoxTable, read_boxes
from mvit_det.ava_files.detections import detections_table, write_detections
from mvit_det.ava_files.label_map import read_label_map
from mvit_det.ava_files.rows import read_excluded
