"""Requests for storage commitment, read from bytes that nobody vouches for, and what is said about each instance."""

import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom.dsutils import encode

from dicom_node.association.commitment import (
    MAXIMUM_REFERENCES,
    WELL_KNOWN_INSTANCE,
    ActionStatus,
    FailureReason,
    Holding,
    Integrity,
    Transaction,
    judge,
    read_request,
)
from dicom_node.association.requests import CommitmentRequest
from dicom_node.errors import CommitmentRefused
from dicom_node.records import SopReference

TRANSACTION = "1.2.826.0.1.3680043.10.5"


def information(*instances: str, transaction_uid: str = TRANSACTION, class_uid: str = CTImageStorage) -> Dataset:
    data = Dataset()
    data.TransactionUID = transaction_uid
    items = []
    for uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, uid
        items.append(item)
    data.ReferencedSOPSequence = Items(items)
    return data


def request(data: Dataset, syntax: str = ExplicitVRLittleEndian) -> CommitmentRequest:
    encoded = encode(data, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    assert encoded is not None
    return CommitmentRequest(
        calling_ae="CT1", address="10.0.0.21", sop_instance_uid=WELL_KNOWN_INSTANCE, action_type=1,
        transfer_syntax_uid=syntax, encoded=encoded,
    )  # fmt: skip


def refusal(asked: CommitmentRequest) -> int:
    with pytest.raises(CommitmentRefused) as caught:
        read_request(asked)
    return caught.value.status


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("undefined", [False, True], ids=["lengths", "delimiters"])
def test_a_request_names_each_instance_once(syntax: str, undefined: bool) -> None:
    data = information("1.2.3", "1.2.4", "1.2.3")
    data["ReferencedSOPSequence"].is_undefined_length = undefined
    assert read_request(request(data, syntax)) == Transaction(
        transaction_uid=TRANSACTION,
        references=tuple(SopReference(sop_class_uid=CTImageStorage, sop_instance_uid=u) for u in ("1.2.3", "1.2.4")),
    )


def test_a_deflated_request_is_read_and_a_bomb_is_not() -> None:
    plain = request(information("1.2.3"))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(plain.encoded) + deflater.flush()
    asked = replace(plain, transfer_syntax_uid=DeflatedExplicitVRLittleEndian, encoded=deflated)
    assert read_request(asked) == read_request(plain)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(1 << 27)) + deflater.flush()
    assert refusal(replace(asked, encoded=bomb)) == ActionStatus.INVALID_ARGUMENT


def test_what_is_no_request_is_told_apart() -> None:
    good = request(information("1.2.3"))
    assert refusal(replace(good, sop_instance_uid="1.2.3")) == ActionStatus.NO_SUCH_INSTANCE
    assert refusal(replace(good, action_type=2)) == ActionStatus.NO_SUCH_ACTION
    assert refusal(replace(good, action_type=None)) == ActionStatus.NO_SUCH_ACTION
    assert refusal(replace(good, encoded=b"")) == ActionStatus.INVALID_ARGUMENT
    assert refusal(replace(good, encoded=good.encoded[:-1])) == ActionStatus.INVALID_ARGUMENT


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_references_must_be_uids(monkeypatch: pytest.MonkeyPatch) -> None:
    import pydicom.config

    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    for data in (
        information(),
        information("1.2.3", ""),
        information("../../etc/passwd"),
        information("1.2.3", class_uid=""),
        information("1.2.3", transaction_uid=""),
        information("1.2.3", transaction_uid="1..2"),
    ):
        assert refusal(request(data)) == ActionStatus.INVALID_ARGUMENT


def test_the_number_of_references_is_bounded() -> None:
    most = information(*(f"1.2.{number}" for number in range(MAXIMUM_REFERENCES)))
    assert len(read_request(request(most)).references) == MAXIMUM_REFERENCES
    most.ReferencedSOPSequence.append(most.ReferencedSOPSequence[0])
    assert refusal(request(most)) == ActionStatus.RESOURCE_LIMITATION


WHOLE = request(information("1.2.3", "1.2.4")).encoded


@given(st.one_of(st.binary(max_size=300), st.integers(0, len(WHOLE)).map(lambda at: WHOLE[:at])))
def test_no_bytes_do_more_than_refuse(encoded: bytes) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        asked = replace(request(information("1.2.3")), encoded=encoded, transfer_syntax_uid=syntax)
        with contextlib.suppress(CommitmentRefused):
            read_request(asked)


def test_only_what_is_held_intact_and_of_its_class_is_committed() -> None:
    held: Mapping[str, Holding] = {
        "1.1": Holding(sop_class_uid=CTImageStorage, integrity=Integrity.INTACT),
        "1.2": Holding(sop_class_uid=MRImageStorage, integrity=Integrity.INTACT),
        "1.3": Holding(sop_class_uid=CTImageStorage, integrity=Integrity.DAMAGED),
    }
    asked = read_request(request(information("1.1", "1.2", "1.3", "1.4")))
    report = judge(asked, held.get)
    assert [one.sop_instance_uid for one in report.committed] == ["1.1"]
    assert {one.sop_instance_uid: why for one, why in report.failed} == {
        "1.2": FailureReason.CLASS_CONFLICT,
        "1.3": FailureReason.PROCESSING_FAILURE,
        "1.4": FailureReason.NO_SUCH_INSTANCE,
    }
    assert report.transaction_uid == TRANSACTION
