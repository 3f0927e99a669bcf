"""Models that ``python -m mvit_det.export`` has written, in place of checkpoints."""

from mvit_det.exported.folder import ExportedModel, is_export
