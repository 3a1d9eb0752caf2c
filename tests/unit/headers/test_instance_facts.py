"""Typed facts from real files and received bytes; what is malformed becomes unknown, never an exception."""

import mmap
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.charset import python_encoding
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)
from synthetic_ct import AXIAL, FRAME_OF_REFERENCE_UID, SERIES_UID, STUDY_UID, ct_slice, enhanced_ct, nested, write

from dicom_node.errors import InstanceRefused
from dicom_node.headers import facts_from_data_set, is_valid_uid, read_instance_facts
from dicom_node.headers.values import MAXIMUM_CODES, MAXIMUM_VALUE_BYTES, REMEMBERED_VALUES, _codes
from dicom_node.records import InstanceFacts, Part10File


def encoded(image: Dataset, *, explicit: bool = True, little: bool = True) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = not explicit, little
    write_dataset(buffer, image)
    return bytes(buffer.getvalue())


def facts(image: Dataset) -> InstanceFacts:
    return facts_from_data_set(encoded(image), ExplicitVRLittleEndian)


def test_facts_of_a_slice(tmp_path: Path) -> None:
    image = ct_slice(4, (-10.5, 20, 1e-3))
    image.ConvolutionKernel = ["Br59f", "3"]
    image.BodyPartExamined = "CHEST"
    image.ContrastBolusAgent = "Iopromid 300"
    image.GantryDetectorTilt = "-0.0"
    image.BurnedInAnnotation = "NO"
    read = write(tmp_path, [image]).instances[0].facts
    assert read == facts(image)
    assert (read.study_uid, read.series_uid, read.sop_instance_uid) == (STUDY_UID, SERIES_UID, image.SOPInstanceUID)
    assert read.transfer_syntax_uid == ExplicitVRLittleEndian
    assert read.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert (read.modality, read.series_number, read.instance_number) == ("CT", 3, 4)
    assert (read.kernel, read.body_part, read.contrast_agent) == ("Br59f\\3", "CHEST", "Iopromid 300")
    assert (read.slice_thickness_mm, read.gantry_tilt_deg) == (2.0, 0.0)
    assert (read.rows, read.columns, read.burned_in_annotation) == (6, 8, "NO")
    assert read.frame_of_reference_uid == FRAME_OF_REFERENCE_UID
    (frame,) = read.frames
    assert frame.position_mm == (-10.5, 20.0, 0.001)
    assert frame.orientation == AXIAL
    assert (frame.spacing_mm, frame.rescale_slope, frame.rescale_intercept) == ((0.8, 0.7), 1.0, -1024.0)


def test_all_encodings_tell_the_same() -> None:
    image = enhanced_ct([(0, 0, 1.0), (0, 0, 2.0)], rescale_intercepts=[0, -5])
    image.ReferencedImageSequence = [nested(ReferencedSOPInstanceUID="1.2.3")]
    wanted = facts(image)
    implicit = facts_from_data_set(encoded(image, explicit=False), ImplicitVRLittleEndian)
    big = facts_from_data_set(encoded(image, little=False), ExplicitVRBigEndian)
    assert wanted.frames == implicit.frames == big.frames
    assert wanted.kernel == implicit.kernel == big.kernel == "B60f"
    assert wanted.rows == implicit.rows == big.rows == 6


def test_sequences_of_undefined_length_are_read_alike() -> None:
    image = enhanced_ct([(0, 0, 1.0), (0, 0, 2.0)], rescale_intercepts=[0, -5])
    wanted = facts(image).frames

    def undefine(data_set: Dataset) -> None:
        for element in data_set:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
                    undefine(item)

    undefine(image)
    assert b"\xfe\xff\xdd\xe0" in encoded(image)
    assert facts(image).frames == wanted


@pytest.mark.parametrize("explicit", [True, False])
def test_enhanced_ct_takes_shared_and_per_frame_groups(explicit: bool) -> None:
    image = enhanced_ct([(0, 0, 1.0), (1, 2, 3)], rescale_intercepts=[0, -5])
    image.SOPClassUID = LegacyConvertedEnhancedCTImageStorage
    syntax = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    read = facts_from_data_set(encoded(image, explicit=explicit), syntax)
    assert [frame.position_mm for frame in read.frames] == [(0, 0, 1), (1, 2, 3)]
    assert [frame.rescale_intercept for frame in read.frames] == [0, -5]
    assert {frame.orientation for frame in read.frames} == {AXIAL}
    assert {frame.spacing_mm for frame in read.frames} == {(0.8, 0.7)}
    assert (read.slice_thickness_mm, read.kernel) == (2.5, "B60f")


def test_enhanced_ct_may_write_every_group_with_each_frame() -> None:
    image = enhanced_ct([(0, 0, 1.0), (1, 2, 3)], rescale_intercepts=[0, -5])
    (shared,) = image.SharedFunctionalGroupsSequence
    region = nested(CodeValue="43799004", CodingSchemeDesignator="SCT", CodeMeaning="Chest")
    shared.FrameAnatomySequence = [nested(FrameLaterality="U", AnatomicRegionSequence=region)]
    together = facts(image)
    assert together.body_part == "CHEST"
    for own in image.PerFrameFunctionalGroupsSequence:
        own.update(shared)
    image.SharedFunctionalGroupsSequence = [Dataset()]
    assert facts(image) == together


@pytest.mark.parametrize("sop_class_uid", [ComprehensiveSRStorage, SecondaryCaptureImageStorage])
def test_what_is_no_slice_has_no_frames(sop_class_uid: str) -> None:
    image = ct_slice(1, (0, 0, 0))
    image.SOPClassUID = sop_class_uid
    del image.ImagePositionPatient
    if sop_class_uid == ComprehensiveSRStorage:
        del image.Rows
    assert facts(image).frames == ()


@pytest.mark.parametrize(
    ("tag", "vr", "raw"),
    [
        (0x00200032, "DS", b"1\\2"),
        (0x00200032, "DS", b"1\\2\\abc "),
        (0x00200032, "DS", b"1\\2\\nan "),
        (0x00200032, "DS", b"1\\2\\1e999 "),
        (0x00200032, "DS", b"1\\2\\1e300 "),
        (0x00200032, "DS", b"1\\2\\1_0 "),
        (0x00200032, "DS", b""),
        (0x00200032, "DS", b"1\\2\\" + b"0" * 6000),
        (0x00200032, "DS", "1\\2\\٣".encode()),
    ],
)
def test_malformed_numbers_are_unknown(tag: int, vr: str, raw: bytes) -> None:
    whole = encoded(ct_slice(1, (0, 0, 0)))
    good = ct_slice(1, (0, 0, 0))
    start = whole.index(bytes.fromhex("20003200"))
    stop = start + 8 + int.from_bytes(whole[start + 6 : start + 8], "little")
    raw += b" " * (len(raw) % 2)
    element = whole[start : start + 6] + len(raw).to_bytes(2, "little") + raw
    read = facts_from_data_set(whole[:start] + element + whole[stop:], ExplicitVRLittleEndian)
    assert read.frames[0].position_mm is None
    assert read.frames[0].orientation == tuple(float(value) for value in good.ImageOrientationPatient)


def test_text_is_decoded_by_its_character_set_and_kept_harmless() -> None:
    image = ct_slice(1, (0, 0, 0))
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SeriesDescription = "Thorax für Übersicht"
    assert facts(image).series_description == "Thorax für Übersicht"
    image.SeriesDescription = "a\u202egnul\u2028b"
    assert facts(image).series_description == "a gnul b"
    image = ct_slice(1, (0, 0, 0))
    whole = encoded(image).replace(b"Thorax", b"\x1b[2J\xff\n")
    assert "\x1b" not in facts_from_data_set(whole, ExplicitVRLittleEndian).series_description


def test_every_defined_character_set_has_a_codec() -> None:
    for codec in python_encoding.values():
        assert b"abc".decode(codec) == "abc"


@pytest.mark.parametrize("name", ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, b"", b"../../etc", b"1.2." + b"3" * 62, b"1..2", b"1.02", b"1.2\n3.4"])
def test_without_valid_uids_it_is_refused(name: str, value: bytes | None) -> None:
    image = ct_slice(1, (0, 0, 0))
    delattr(image, name)
    whole = encoded(image)
    if value is not None:
        tag = pydicom.datadict.tag_for_keyword(name)
        assert tag is not None
        value += b"\0" * (len(value) % 2)
        head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"UI"
        whole = head + len(value).to_bytes(2, "little") + value + whole
    with pytest.raises(InstanceRefused) as caught:
        facts_from_data_set(whole, ExplicitVRLittleEndian)
    assert caught.value.status == (0x0117 if name == "SOPInstanceUID" else 0xC000)
    assert len(str(caught.value)) <= 64
    assert str(caught.value).isascii()


@given(st.text(alphabet="0123456789.", max_size=70))
def test_valid_uids_are_those_of_the_standard(text: str) -> None:
    parts = text.split(".")
    allowed = len(text) <= 64 and len(parts) > 1 and all(part and (part == "0" or part[0] != "0") for part in parts)
    assert is_valid_uid(text) == allowed


@pytest.mark.parametrize("content", [b"", b"no DICOM here", bytes(128) + b"DICM", bytes(200), b"\x89PNG" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InstanceRefused) as caught:
        read_instance_facts(Part10File(path))
    assert caught.value.status == 0xC000


@pytest.mark.parametrize("syntax", ["", "abc", "1.2.3", "1.2.840.10008.1.1"])
def test_unknown_transfer_syntaxes_are_refused(syntax: str) -> None:
    with pytest.raises(InstanceRefused, match="transfer syntax"):
        facts_from_data_set(encoded(ct_slice(1, (0, 0, 0))), syntax)


def deflated(raw: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(raw) + compressor.flush()


def test_deflated_data_sets_are_read_and_bombs_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = deflated(encoded(ct_slice(1, (0, 0, 0))))
    for good in (whole, whole + b"\0"):
        assert facts_from_data_set(good, DeflatedExplicitVRLittleEndian).modality == "CT"
    monkeypatch.setattr("dicom_node.headers.part10.MAXIMUM_INFLATED_BYTES", 1_000_000)
    for bad in (deflated(bytes(10_000_000)), whole[:-20], b"\xff" * 50, whole + bytes(5000)):
        with pytest.raises(InstanceRefused, match="deflated"):
            facts_from_data_set(bad, DeflatedExplicitVRLittleEndian)


def test_blocks_that_hold_nothing_cost_neither_time_nor_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.headers.part10.MAXIMUM_DEFLATED_BYTES", 1_000_000)
    empty_stored_block = b"\x00\x00\x00\xff\xff"  # RFC 1951 section 3.2.4
    endless = tmp_path / "endless"
    endless.write_bytes(empty_stored_block * 800_000)
    with endless.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        tracemalloc.start()
        try:
            with pytest.raises(InstanceRefused, match="larger than"):
                facts_from_data_set(mapped, DeflatedExplicitVRLittleEndian)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def test_a_deflated_file_is_not_copied_to_be_read(tmp_path: Path) -> None:
    few_bytes_in_many = deflated(encoded(ct_slice(1, (0, 0, 0)))) + bytes(8_000_000)
    (tmp_path / "long").write_bytes(few_bytes_in_many)
    with (tmp_path / "long").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        tracemalloc.start()
        try:
            with pytest.raises(InstanceRefused, match="ends before"):
                facts_from_data_set(mapped, DeflatedExplicitVRLittleEndian)
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()


def test_a_file_with_damaged_meta_information_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [ct_slice(1, (0, 0, 0))])
    whole = bytearray((tmp_path / "0.dcm").read_bytes())
    whole[140:144] = (2**31).to_bytes(4, "little")
    (tmp_path / "0.dcm").write_bytes(whole)
    with pytest.raises(InstanceRefused, match="file meta"):
        read_instance_facts(Part10File(tmp_path / "0.dcm"))


def test_pixel_data_is_not_needed_in_a_file_but_has_to_be_whole_on_the_wire(tmp_path: Path) -> None:
    series = write(tmp_path, [ct_slice(1, (0, 0, 0))])
    path = series.instances[0].file.path
    path.write_bytes(path.read_bytes()[:-10])
    assert read_instance_facts(Part10File(path)) == series.instances[0].facts
    with pytest.raises(InstanceRefused, match="truncated"):
        facts_from_data_set(encoded(ct_slice(1, (0, 0, 0)))[:-10], ExplicitVRLittleEndian)


def test_a_study_is_not_named_again_behind_the_pixels() -> None:
    image = encoded(ct_slice(1, (0, 0, 0)))
    padding = b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0" + bytes(4)
    another = b"\x20\x00\x0d\x00UI\4\x001.2\0"
    assert facts_from_data_set(image + padding, ExplicitVRLittleEndian).study_uid == STUDY_UID
    with pytest.raises(InstanceRefused, match="behind the pixels"):
        facts_from_data_set(image + another, ExplicitVRLittleEndian)


@pytest.mark.parametrize("code", [b"AB\\", b"\xff" * 127 + b"\\"], ids=["short", "long"])
def test_a_value_of_very_many_codes_takes_little_memory(code: bytes) -> None:
    image = ct_slice(1, (0, 0, 0))
    image.ImageType = [f"C{number}" for number in range(500)]
    assert facts(image).image_type == tuple(f"C{number}" for number in range(MAXIMUM_CODES))
    _codes.cache_clear()
    tracemalloc.start()
    try:
        for number in range(REMEMBERED_VALUES):
            assert _codes((b"%d\\" % number + code * 1400)[:MAXIMUM_VALUE_BYTES])
        assert tracemalloc.get_traced_memory()[0] < 12_000_000
    finally:
        tracemalloc.stop()


def test_facts_hold_no_patient_identifiers() -> None:
    image = ct_slice(1, (0, 0, 0))
    image.PatientName, image.PatientID, image.AccessionNumber = "SECRET^NAME", "SECRET-1", "SECRET-2"
    assert "SECRET" not in repr(facts(image))


@pytest.mark.real_data
def test_facts_agree_with_pydicom_on_real_files(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("dicom_transfer_syntaxes/*.dcm")):
        image = pydicom.dcmread(path, stop_before_pixels=True)
        read = read_instance_facts(Part10File(path))
        assert read.sop_instance_uid == image.SOPInstanceUID
        assert read.rows == image.Rows
        assert read.frames[0].position_mm == tuple(float(value) for value in image.ImagePositionPatient)
        data_set = path.read_bytes()
        start = 144 + int.from_bytes(data_set[140:144], "little")
        assert facts_from_data_set(data_set[start:], image.file_meta.TransferSyntaxUID) == read


def test_bytesio_is_what_pydicom_reads_back() -> None:
    """The writer of these tests is itself held against pydicom's reader."""
    image = pydicom.filereader.read_dataset(BytesIO(encoded(ct_slice(1, (0, 0, 0)))), False, True)
    assert image.Rows == 6
