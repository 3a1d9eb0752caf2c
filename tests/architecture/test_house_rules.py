"""House rules that no linter knows."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from dicom_node.__main__ import main

REPOSITORY = Path(__file__).parents[2]
FORBIDDEN_NAMES = re.compile(r"(^|/)(utils?|helpers?|common|manager)(\.py|/)")
LONGEST_FILE = 400


def tracked(pattern: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", pattern], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return listed.stdout.split()


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [name for name in tracked("*") if FORBIDDEN_NAMES.search(name)] == []


def test_files_stay_readable() -> None:
    long = [
        name for name in tracked("*.py") if len((REPOSITORY / name).read_text().splitlines()) > LONGEST_FILE
    ]  # fmt: skip
    assert long == []


def commands(group: click.Group, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, command in group.commands.items():
        found += commands(command, f"{name} ") if isinstance(command, click.Group) else [f"{prefix}{name}"]
    return found


@pytest.mark.parametrize("command", commands(main))
def test_every_command_is_in_the_operators_guide(command: str) -> None:
    assert f"dicom-node {command}" in (REPOSITORY / "docs" / "operators-guide.md").read_text()


def test_every_setting_is_shown_in_the_shipped_file() -> None:
    from dicom_node.settings import NodeSettings

    shipped = (REPOSITORY / "config" / "node.toml").read_text()
    guide = (REPOSITORY / "docs" / "operators-guide.md").read_text()
    for section in NodeSettings.model_fields.values():
        for name in getattr(section.annotation, "model_fields", {}):
            assert name in shipped or f"`{name}`" in guide, name
