"""Triton's Python backend runs this file; see the module that it imports."""

from inference.engines.triton_backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
