"""The formats of exported models: their files and packages."""

import importlib.util

from mvit_det.errors import UserError

FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch_export": "model.pt2"}
RUNTIMES = {"onnx": ("onnxruntime",), "openvino": ("openvino",), "torch_export": ()}
CONVERTERS = {"onnx": ("onnx", "onnxscript"), "openvino": ("onnx", "onnxscript")}


def check_packages(form: str, *names: str) -> None:
    """Raise a `UserError` if packages that a format needs are not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"The format {form} needs {', '.join(missing)}: install them with "
            'pip install "mvit_det[export]".'
        )
