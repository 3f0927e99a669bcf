"""The embedded host: an independent implementation of the part of Detectron2's API used here.

It serves ``import detectron2`` only where the real Detectron2 is not installed; see
``mvit_det/__init__.py``. Names, arguments, defaults, files and numerics are Detectron2's, so that
configs and checkpoints move between the two unchanged. The reference of each module is the file of
the same path in https://github.com/facebookresearch/detectron2.
"""

import sys

from . import _missing_names

__version__ = "0.6+embedded"

_missing_names.install(sys.modules[__name__])
