"""Fixtures of the whole suite: strict DICOM validation, and the folder of real data."""

import os
from pathlib import Path

import pydicom.config
import pytest

from tests.certificates import Authority

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("DICOM_NODE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
"""Real DICOM and image data, kept outside the repository because of its licences."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_data: needs the folder of real data; left out where it is absent")
    config.addinivalue_line("markers", "journey: the whole system as separate processes; slow")
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SHARED_DATA.is_dir():
        return
    left_out = [item for item in items if item.get_closest_marker("real_data")]
    items[:] = [item for item in items if not item.get_closest_marker("real_data")]
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not SHARED_DATA.is_dir():
        terminalreporter.write_line(f"real-data tests did NOT run: no folder {SHARED_DATA}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that use it carry ``@pytest.mark.real_data``."""
    return SHARED_DATA


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, made by the script of deploy/tls."""
    return Authority.made(tmp_path_factory.mktemp("certificates") / "hospital")
