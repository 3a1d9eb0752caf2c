"""The shipped way to run NVIDIA's container: options that the server knows, and a check of the plans that runs once."""

import os
import re
import subprocess
import sysconfig
from typing import Any

import pytest
import yaml

from dicom_node.demonstration.triton_server import DEFAULT_ENVIRONMENT
from dicom_node.settings import REPOSITORY_ROOT
from inference.engines.plan_manifest import TRIAL

TEXT = (REPOSITORY_ROOT / "deploy" / "triton" / "compose.yaml").read_text()


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load(TEXT)["services"]


def test_every_option_is_one_that_the_server_knows(services: dict[str, Any]) -> None:
    surroundings = {**os.environ, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    help_text = subprocess.run(
        [DEFAULT_ENVIRONMENT / "tritonserver", "--help"], capture_output=True, text=True, env=surroundings, check=False
    )
    known = set(re.findall(r"^\s+(--[a-z-]+)", help_text.stdout + help_text.stderr, re.MULTILINE))
    for name in ("cpu", "gpu"):
        command = " ".join(services[name]["command"])
        used = set(re.findall(r"(--[a-z-]+)", command[command.index("tritonserver") :]))
        assert "--model-repository" in used
        assert used <= known, name


def test_the_container_has_the_nodes_openvino(services: dict[str, Any]) -> None:
    (pinned,) = re.findall(r"^openvino==\S+", (REPOSITORY_ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned in " ".join(services["cpu"]["command"])


def test_a_server_with_plans_starts_after_their_check_which_does_not_begin_again(services: dict[str, Any]) -> None:
    assert services["gpu"]["depends_on"] == {"plans": {"condition": "service_completed_successfully"}}
    assert services["plans"]["restart"] == "no"
    assert services["plans"]["profiles"] == services["gpu"]["profiles"] == ["gpu"]
    assert "inference.engines.plan_manifest" in services["plans"]["command"][-1]
    assert f"PLAN_TRIAL={TRIAL}" in TEXT
