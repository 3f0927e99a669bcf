"""TEMPORARY pointer, removed at the merge.

`Finding`, `FileReport`, `FileCheck` live in mvit_det/data/checks/findings.py, since
mvit_det/tasks/ may import data/ but not the top floor: tests/test_imports.py. So the checks of
videos and actions belong in mvit_det/data/checks/videos.py and mvit_det/data/checks/actions.py (room
"checks" of data, which may import decoding, detection, classification, video, actions), and
mvit_det/tasks/video.py and actions.py return them from

    def check_files(self, cfg: DictConfig, split: str) -> Iterator[Finding | FileCheck]

where split is "train" or "test": of cfg.dataloader.SPLIT. It yields a `Finding` for what is known
without opening the samples (csv rows, class counts), and a `FileCheck` per sample file, which runs in
a process of the pool. It may raise a UserError, which becomes an error finding. What the
start already judges (building the dataset, its logged warnings, check_custom_data, check_test_data)
is collected by the core; messages that are equal are reported once.
"""

from mvit_det.data.checks.findings import Box, FileCheck, FileReport, Finding
