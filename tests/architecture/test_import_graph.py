"""What a serving process loads, proven in a process of its own."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "tritonclient")


@pytest.mark.parametrize("module", ["dicom_node.__main__", "dicom_node.app"])
def test_no_network_library_is_loaded_before_it_is_used(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"
