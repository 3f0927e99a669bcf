"""The embedded host: an independent implementation of the part of Detectron2's API used here.

It serves ``import detectron2`` only where the real Detectron2 is not installed; see
``mvit_det/__init__.py``. Names, arguments, defaults, files and numerics are Detectron2's, so that
configs, checkpoints and habits move between the two unchanged.
"""

import sys

from . import _lacking

__version__ = "0.6+embedded"

_lacking.install(sys.modules[__name__])
