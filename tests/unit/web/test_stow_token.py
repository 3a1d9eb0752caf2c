"""The token of STOW-RS: one that protects nothing is a mistake, told by check-config like any other."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicom_node.__main__ import main
from dicom_node.errors import SettingsError
from dicom_node.web.stow import read_token

TOKEN = os.urandom(32).hex()


@pytest.mark.parametrize("content", ["", "short", "two words of more than thirty-two characters", "ä" * 40])
def test_a_token_that_protects_nothing_is_a_mistake(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(SettingsError, match=r"web\.stow\.token_file: .* must hold one word"):
        read_token(tmp_path / "token")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_token(tmp_path / "absent")


def test_check_config_looks_at_the_token(tmp_path: Path) -> None:
    settings = tmp_path / "node.toml"
    settings.write_text(
        "[web.stow]\ntoken_file = 'token'\n[[scp.peers]]\nae_title = 'CT1'\n"
        "commitment = { host = '10.0.0.21', port = 104 }\n"
    )
    checked = CliRunner().invoke(main, ["check-config", "--config", str(settings)])
    assert (checked.exit_code, "web.stow.token_file" in checked.output) == (2, True)
    (tmp_path / "token").write_text(TOKEN)
    checked = CliRunner().invoke(main, ["check-config", "--config", str(settings)])
    assert checked.exit_code == 0
    assert "STOW-RS: POST http://127.0.0.1:8080/dicom-web/studies" in checked.output
    assert "reports of storage commitment to CT1@10.0.0.21:104" in checked.output
    assert TOKEN not in checked.output
