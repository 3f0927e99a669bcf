"""``PathManager``, which opens all files: local paths, URLs and the prefix of the model zoo."""

from typing import Any

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

_ZOO_PREFIX = "detectron2://"
_ZOO_URL = "https://dl.fbaipublicfiles.com/detectron2/"


class Detectron2Handler(PathHandler):
    """Resolve ``detectron2://a/b.pkl`` to the file a/b.pkl of the published model zoo."""

    def _get_supported_prefixes(self) -> list[str]:
        return [_ZOO_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        url = _ZOO_URL + path.removeprefix(_ZOO_PREFIX)
        return PathManager.get_local_path(url, force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering, **kwargs)


PathManager = _PathManager()
for _handler in (HTTPURLHandler(), Detectron2Handler()):
    PathManager.register_handler(_handler)
