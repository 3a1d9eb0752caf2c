"""The rules' file: every mistake at once, with its path; the shipped file is right."""

from pathlib import Path

import pytest

from dicom_node.errors import SettingsError
from dicom_node.routing import Rules, load_rules

SHIPPED = Path(__file__).parents[3] / "config" / "pipelines.toml"


def rules_from(folder: Path, text: str) -> Rules:
    path = folder / "pipelines.toml"
    path.write_text(text, encoding="utf-8")
    return load_rules(path)


def mistakes(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        rules_from(folder, text)
    return caught.value.mistakes


def test_shipped_rules_are_valid() -> None:
    rules = load_rules(SHIPPED)
    assert list(rules.pipelines) == ["pulmonary_embolism", "lung_lesions"]
    assert list(rules.automatic().pipelines) == ["lung_lesions"]
    assert list(rules.only("pulmonary_embolism").pipelines) == ["pulmonary_embolism"]
    assert rules.minimum_slices("lung_lesions") == 10


def test_all_mistakes_come_at_once_with_their_paths(tmp_path: Path) -> None:
    text = """
        [pipelines.lung_lesions]
        modalities = []
        slices_minimum = "10"
        contrast = "maybe"
        sop_classes = ["CTImageStorage", "CatImageStorage"]
        prefer = ["kernel", "kernel"]
        colour = "red"
        [pipelines.lung_lesions.slice_thickness_mm]
        minimum = 5
        maximum = 2
        [pipelines.lung_lesions.orientation]
        tolerance_deg = -1
        [pipelines.lung_lesions.kernel]
        preferred = ["", 5]
        [pipelines."Bad Name"]
    """
    found = "\n".join(mistakes(tmp_path, text))
    for path, words in (
        ("pipelines.lung_lesions.modalities", "at least 1"),
        ("pipelines.lung_lesions.slices_minimum", "valid integer"),
        ("pipelines.lung_lesions.contrast", "'any', 'required' or 'forbidden'"),
        ("pipelines.lung_lesions.sop_classes", "'CatImageStorage' is no SOP Class keyword"),
        ("pipelines.lung_lesions.prefer", "names a criterion twice"),
        ("pipelines.lung_lesions.colour", "not permitted"),
        ("pipelines.lung_lesions.slice_thickness_mm", "minimum 5 is above maximum 2"),
        ("pipelines.lung_lesions.orientation.tolerance_deg", "greater than or equal to 0"),
        ("pipelines.lung_lesions.kernel.preferred[0]", "at least 1 character"),
        ("pipelines.lung_lesions.kernel.preferred[1]", "valid string"),
        ("pipelines.Bad Name", "match pattern"),
    ):
        assert any(line.startswith(path) and words in line for line in found.splitlines()), (path, found)
    assert len(found.splitlines()) == 11


@pytest.mark.parametrize("text", ["", "[pipelines]", "pipelines = 5"])
def test_no_pipeline_is_a_mistake(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith("pipelines: ")


def test_unreadable_files_are_mistakes(tmp_path: Path) -> None:
    assert "not valid TOML" in mistakes(tmp_path, "[pipelines")[0]
    with pytest.raises(SettingsError, match="cannot be read"):
        load_rules(tmp_path / "absent.toml")


def test_digest_follows_the_rules_and_nothing_else(tmp_path: Path) -> None:
    plain = rules_from(tmp_path, "[pipelines.a]\n[pipelines.b]")
    spelled_out = rules_from(tmp_path, '# a comment\n[pipelines.b]\nmodalities = ["CT"]\n[pipelines.a]')
    changed = rules_from(tmp_path, "[pipelines.a]\nslices_minimum = 11\n[pipelines.b]")
    assert len(plain.digest("a")) == 64
    assert plain.digest("a") == spelled_out.digest("a")
    assert plain.digest("b") == spelled_out.digest("b") == changed.digest("b")
    assert plain.digest("a") != changed.digest("a")
    with pytest.raises(KeyError):
        plain.digest("c")
