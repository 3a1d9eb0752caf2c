"""What Orthanc's plugin decides, without Orthanc: what to send and to show, how to read a report, when to retry."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from node_routing.ledger import Ledger, Transfer
from node_routing.patience import Patience
from node_routing.reports import UNKNOWN_OUTCOME, read_report
from node_routing.settings import WrongConfiguration, read_settings
from node_routing.study import (
    CT_IMAGE_CLASSES,
    SENT,
    Image,
    Report,
    Series,
    Study,
    digest,
    is_complete,
    settled_state,
    unsent,
)
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.association.contexts import ANALYSED_CLASSES
from dicom_node.results import codes
from dicom_node.results.provenance import MANUFACTURER
from dicom_node.settings import NodeSettings

SHIPPED = Path(__file__).parents[3] / "deploy" / "orthanc" / "orthanc.json"


def series(
    name: str, sop_class: str = CTImageStorage, *, manufacturer: str = "ACME", images: int = 2, sent: str = ""
) -> Series:
    return Series(
        identifier=name,
        modality="CT",
        manufacturer=manufacturer,
        images=tuple(
            Image(identifier=f"{name}{number}", sop_instance_uid=f"uid-{name}{number}", sop_class_uid=sop_class)
            for number in range(images)
        ),
        sent=sent,
    )


def study(*parts: Series) -> Study:
    return Study(identifier="study", series=parts, state="")


def sent_of(name: str, images: int = 2) -> str:
    return digest(f"{name}{number}" for number in range(images))


def test_ct_images_are_sent_with_the_digest_to_note() -> None:
    shipment = unsent(study(series("a"), series("b", EnhancedCTImageStorage)), node_manufacturer=MANUFACTURER)
    assert shipment is not None
    assert shipment.instances == ("a0", "a1", "b0", "b1")
    assert shipment.digests == {"a": sent_of("a"), "b": sent_of("b")}


@pytest.mark.parametrize("sop_class", [SegmentationStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage])
@pytest.mark.parametrize("manufacturer", [MANUFACTURER, "ACME"])
def test_nothing_but_ct_images_is_sent(sop_class: str, manufacturer: str) -> None:
    other = series("other", sop_class, manufacturer=manufacturer)
    assert unsent(study(other), node_manufacturer=MANUFACTURER) is None
    assert settled_state(study(other), [], node_manufacturer=MANUFACTURER) == ""


def test_what_the_node_has_made_is_not_sent_even_as_ct() -> None:
    assert unsent(study(series("own", manufacturer=MANUFACTURER)), node_manufacturer=MANUFACTURER) is None


def test_results_do_not_make_a_sent_study_unsent() -> None:
    results = series("results", SegmentationStorage, manufacturer=MANUFACTURER)
    assert unsent(study(series("a", sent=sent_of("a")), results), node_manufacturer=MANUFACTURER) is None


def test_late_image_sends_its_series_and_no_other() -> None:
    known, grown = series("a", sent=sent_of("a")), series("b", images=3, sent=sent_of("b"))
    shipment = unsent(study(known, grown), node_manufacturer=MANUFACTURER)
    assert shipment is not None
    assert shipment.instances == ("b0", "b1", "b2")


@pytest.mark.parametrize(
    ("stable", "up_s", "complete"), [(True, 60, True), (True, 59, False), (False, 1000, False)],
)  # fmt: skip
def test_study_is_complete_when_orthanc_says_so_and_has_been_up_for_long_enough(
    stable: bool, up_s: float, complete: bool
) -> None:
    assert is_complete(stable=stable, up_s=up_s, stable_age_s=60) is complete


def report(outcome: str, *, made: str = "1", images: int = 2) -> Report:
    return Report(made=made, outcome=outcome, evidence=frozenset(f"uid-a{number}" for number in range(images)))


@pytest.mark.parametrize(
    ("reports", "state"),
    [
        ([], SENT),
        ([report("positive")], "answered: positive"),
        ([report("positive", images=1)], SENT),
        ([report("negative", made="2"), report("positive", made="1")], "answered: negative"),
        ([report("negative", made="2", images=1), report("positive", made="1")], "answered: positive"),
    ],
)
def test_report_answers_when_it_rests_on_everything_sent(reports: list[Report], state: str) -> None:
    assert settled_state(study(series("a")), reports, node_manufacturer=MANUFACTURER) == state


def document(outcome: str) -> dict[str, Any]:
    """As Orthanc's simplified tags have it."""
    assessment = {
        "ConceptNameCodeSequence": [{"CodeValue": codes.OVERALL_ASSESSMENT.value}],
        "ConceptCodeSequence": [{"CodeValue": outcome}],
    }
    references = [{"ReferencedSOPInstanceUID": "1.2"}, {"ReferencedSOPInstanceUID": "1.3"}]
    return {
        "ContentDate": "20260101",
        "ContentTime": "120000",
        "ContentSequence": [{"ContentSequence": [{"ValueType": "TEXT"}, assessment]}],
        "CurrentRequestedProcedureEvidenceSequence": [
            {"ReferencedSeriesSequence": [{"ReferencedSOPSequence": references}]}
        ],
    }


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (codes.POSITIVE.value, "positive"),
        (codes.NEGATIVE.value, "negative"),
        (codes.NOT_PERFORMED.value, "not analysed"),
        ("something else", UNKNOWN_OUTCOME),
    ],
)
def test_outcome_and_evidence_are_read_from_the_report(code: str, outcome: str) -> None:
    assert read_report(document(code)) == Report(
        made="20260101120000", outcome=outcome, evidence=frozenset({"1.2", "1.3"})
    )


def test_document_without_content_is_a_report_of_nothing() -> None:
    assert read_report({"ContentSequence": ""}) == Report(made="", outcome=UNKNOWN_OUTCOME, evidence=frozenset())


def test_pauses_double_up_to_the_longest_and_begin_anew_after_success() -> None:
    patience = Patience(first_s=5, longest_s=30)
    assert [patience.failed("study", 0) for _ in range(5)] == [5, 10, 20, 30, 30]
    assert not patience.is_over("study", 29)
    assert patience.is_over("study", 30)
    assert patience.is_over("another", 0)
    patience.forget("study")
    assert patience.failed("study", 0) == 5


def test_ledger_comes_back_as_it_was_written() -> None:
    transfer = Transfer(job="job", instances=2, digests={"a": "digest"})
    ledger = Ledger(position=7, open={"one": None, "two": transfer})
    assert Ledger.decoded(ledger.encoded()) == ledger


def shipped() -> dict[str, Any]:
    configuration: dict[str, Any] = json.loads(re.sub(r"//.*", "", SHIPPED.read_text()))
    return configuration


def test_shipped_configuration_is_right_and_shows_every_setting_with_its_default() -> None:
    optional = re.findall(r'// "(\w+)" : ("[^"]*"|\d+)', SHIPPED.read_text())
    assert [name for name, _ in optional] == ["Manufacturer", "PollSeconds", "RetryFirstSeconds", "RetryLongestSeconds"]
    written_out = shipped()
    written_out["DicomNode"] |= {name: json.loads(value) for name, value in optional}
    settings = read_settings(shipped())
    assert read_settings(written_out) == settings
    assert (settings.modality, settings.manufacturer) == ("dicom-node", MANUFACTURER)
    assert shipped()["DicomModalities"]["dicom-node"][0] == NodeSettings().scp.ae_title


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(WrongConfiguration) as raised:
        read_settings({"DicomNode": {"Modality": "nobody", "PollSeconds": 0, "Colour": "red"}, "JobsHistorySize": 0})
    named = [line.split(":")[0] for line in str(raised.value).splitlines()]
    assert named == [
        "DicomNode.Colour", "DicomNode.PollSeconds", "UserMetadata.DicomNodeState", "UserMetadata.DicomNodeSent",
        "JobsHistorySize", "DicomNode.Modality",
    ]  # fmt: skip


def test_what_is_sent_is_what_the_node_takes() -> None:
    assert {str(uid) for uid in ANALYSED_CLASSES} == CT_IMAGE_CLASSES
