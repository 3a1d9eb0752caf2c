"""Bodies of STOW-RS that nobody would send on purpose: whatever comes, the upload ends in words, and leaves nothing."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.association import Intake
from dicom_node.association.file_intake import ArrivingFile
from dicom_node.index import Index, open_database
from dicom_node.settings import StowSettings
from dicom_node.spool import SegmentSpool
from dicom_node.web.multipart_related import MalformedMultipart, TooManyParts
from dicom_node.web.stow_upload import Upload
from tests.spool_contents import unfinished_bytes
from tests.synthetic_ct import axial_series

BOUNDARY = b"boundary"
DELIMITER = b"--" + BOUNDARY
HEAD = b"\r\nContent-Type: application/dicom\r\n\r\n"
EXAMPLES = 150


def whole_body() -> bytes:
    parts = []
    for image in axial_series(2):
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        buffer = BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        parts.append(DELIMITER + HEAD + buffer.getvalue() + b"\r\n")
    return b"".join(parts) + DELIMITER + b"--\r\n"


BODY = whole_body()
TELLING = [DELIMITER, DELIMITER + b"--", b"\r\n", HEAD, b"DICM", b"\xff\xff\xff\xff", b"\x00" * 8, b"SQ\x00\x00"]
"""What a body is made of, and what lengths are made of."""
mutation = st.tuples(
    st.integers(0, len(BODY)), st.integers(0, 40), st.one_of(st.sampled_from(TELLING), st.binary(max_size=40))
)


@pytest.fixture(scope="module")
def spool_and_intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Intake]]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    spool = SegmentSpool(folder / "spool", synchronise=False)
    intake = Intake(spool, Index(open_database(folder / "node.sqlite")))
    yield folder / "spool", intake
    intake.close()


@settings(max_examples=EXAMPLES, deadline=None)
@given(mutations=st.lists(mutation, max_size=6), cut=st.integers(1, 700))
def test_no_body_breaks_the_upload(
    spool_and_intake: tuple[Path, Intake], mutations: list[tuple[int, int, bytes]], cut: int
) -> None:
    root, intake = spool_and_intake
    body = BODY
    for at, gone, instead in mutations:
        body = body[:at] + instead + body[at + gone :]
    upload = Upload(
        BOUNDARY.decode(),
        StowSettings(token_file=Path("unused"), maximum_parts=5),
        arrive=lambda: ArrivingFile(intake, source="fuzz"),
        peer="",
    )
    with contextlib.suppress(MalformedMultipart, TooManyParts):
        for start in range(0, len(body), cut):
            upload.feed(body[start : start + cut])
    upload.close()
    assert not any(why == 0x0110 for _, why in upload.response.failed), "an internal fault is a fault of ours"
    assert 0x0110 not in upload.response.other_failures
    assert unfinished_bytes(root) == 0
    assert upload.response.http_status() in (200, 202, 409)
