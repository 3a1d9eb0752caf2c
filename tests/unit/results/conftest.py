"""Requests for results of synthetic studies."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from result_requests import make_request as make

from dicom_node.results import ResultRequest


@pytest.fixture
def make_request(tmp_path: Path) -> Callable[..., ResultRequest]:
    """Make a request for results of a study that lies under ``tmp_path``."""
    return partial(make, tmp_path)
