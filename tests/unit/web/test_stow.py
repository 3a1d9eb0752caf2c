"""STOW-RS (PS3.18 section 10.5) against a real server, spool and index: what is stored, refused, and how it is told."""

import http.client
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.association import AssociationEvent, EventKind
from dicom_node.association.requests import Brought
from tests.spool_contents import content, stored_files, unfinished_bytes
from tests.synthetic_ct import SERIES_UID, STUDY_UID, axial_series
from tests.unit.web.stow_port import BOUNDARY, CONTENT_TYPE, PART, TOKEN, Stow, body, file_of, images


def references(answer: httpx.Response, sequence: str) -> list[tuple[str, int | None]]:
    """SOP Instance UID and Failure Reason of each item; the UID is empty where the item names none."""
    found: list[Any] = answer.json().get(sequence, {"Value": []})["Value"]
    return [
        (
            one["00081155"]["Value"][0] if "00081155" in one else "",
            one["00081197"]["Value"][0] if "00081197" in one else None,
        )
        for one in found
    ]


STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"


def test_every_instance_is_stored_once_and_named(stow: Stow) -> None:
    files = images(3)
    for _ in range(2):
        answer = stow.post(body(*files))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/dicom+json")
        uids = [str(dcmread(BytesIO(file)).SOPInstanceUID) for file in files]
        assert references(answer, STORED) == [(uid, None) for uid in uids]
        module = Dataset.from_json(answer.json())
        assert [item.ReferencedSOPInstanceUID for item in module.ReferencedSOPSequence] == uids
    assert stow.held() == 3
    stow.intake.flush()
    (progress,) = stow.index.receiving()
    assert set(progress.last_received_at) == {SERIES_UID}


def test_what_is_stored_is_the_data_set_and_no_preamble(stow: Stow) -> None:
    (file,) = images(1)
    assert stow.post(body(b"MZ" + b"\x90" * 126 + file[128:])).status_code == 200
    (place,) = stored_files(stow.spool)
    stored = content(place)
    assert b"MZ" not in stored[:128]
    assert stored[128:132] == b"DICM"
    assert dcmread(BytesIO(stored)) == dcmread(BytesIO(file))


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64 * 1024])
def test_parts_are_found_however_the_body_is_cut(stow: Stow, cut: int) -> None:
    """Delimiters, heads and content that looks like a delimiter, over the edges of what the network delivers."""
    lookalike = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--" + BOUNDARY.encode() + b"x\r\n"
    image = axial_series(1)[0]
    image.PixelData = (lookalike * 10)[: len(image.PixelData)].ljust(len(image.PixelData), b"\r")
    whole = body(file_of(image), *images(2)[:1])
    chunks = (whole[at : at + cut] for at in range(0, len(whole), cut))
    answer = stow.client.post("/dicom-web/studies", content=chunks, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert len(references(answer, STORED)) == 2
    assert image.PixelData in b"".join(map(content, stored_files(stow.spool)))


def test_one_bad_part_harms_no_other(stow: Stow) -> None:
    first, second, third = images(3)
    uid = str(dcmread(BytesIO(second)).SOPInstanceUID)
    answer = stow.post(body(first, second[:-7], b"no file", third))
    assert answer.status_code == 202
    assert len(references(answer, STORED)) == 2
    assert references(answer, FAILED) == [(uid, 0xC000)]
    assert references(answer, OTHER) == [("", 0xC000)]
    assert stow.held() == 2
    assert unfinished_bytes(stow.folder) == 0, "a refused part leaves nothing"


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"MediaStorageSOPClassUID": "1.2.840.10008.1.3.10"}, 0x0122),
        ({"MediaStorageSOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"MediaStorageSOPInstanceUID": "1.2.3"}, 0xA900),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.4.100"}, 0xC122),
    ],
    ids=["class-not-accepted", "other-class", "other-instance", "syntax-not-accepted"],
)
def test_failures_carry_their_reason(stow: Stow, meta: dict[str, str], reason: int) -> None:
    image = axial_series(1)[0]
    del image.PixelData
    answer = stow.post(body(file_of(image, **meta)))
    assert answer.status_code == 409
    uid = meta.get("MediaStorageSOPInstanceUID", str(image.SOPInstanceUID))
    assert references(answer, FAILED) == [(uid, reason)]
    assert stow.held() == 0


def test_other_content_under_a_taken_uid_fails_and_the_first_is_kept(stow: Stow) -> None:
    image = axial_series(1)[0]
    first = file_of(image)
    image.SeriesDescription = "other content"
    answer = stow.post(body(first, file_of(image)))
    assert answer.status_code == 202
    assert references(answer, FAILED) == [(str(image.SOPInstanceUID), 0xC001)]
    assert b"Thorax" in content(stored_files(stow.spool)[0])


def test_an_address_with_a_study_takes_that_study_alone(stow: Stow) -> None:
    (file,) = images(1)
    answer = stow.post(body(file), study_uid="1.2.3")
    assert answer.status_code == 409
    assert [reason for _, reason in references(answer, FAILED)] == [0xA900]
    assert stow.held() == 0
    assert stow.post(body(file), study_uid=STUDY_UID).status_code == 200
    assert stow.post(body(file), study_uid="1..2").status_code == 400


def test_a_part_of_another_type_is_refused(stow: Stow) -> None:
    answer = stow.post(body(images(1)[0], head=b"Content-Type: application/dicom+xml\r\n\r\n"))
    assert answer.status_code == 409
    assert references(answer, OTHER) == [("", 0xC000)]
    assert stow.post(body(images(1)[0], head=b"\r\n")).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"Bearer ä{TOKEN}"]
)
def test_without_the_token_nothing_is_read(stow: Stow, authorization: str) -> None:
    raw = http.client.HTTPConnection("127.0.0.1", stow.port, timeout=10)
    raw.putrequest("POST", "/dicom-web/studies")
    raw.putheader("Authorization", authorization.encode("latin-1"))
    raw.putheader("Content-Type", CONTENT_TYPE)
    raw.putheader("Content-Length", "1000000")
    raw.endheaders()
    answer = raw.getresponse()
    assert (answer.status, answer.getheader("WWW-Authenticate")) == (401, 'Bearer realm="dicom-web"')
    assert TOKEN.encode() not in answer.read()
    raw.close()


def test_an_address_with_a_slash_too_many_is_not_redirected(stow: Stow) -> None:
    answer = stow.client.post("/dicom-web/studies/", content=body(), headers={"Content-Type": CONTENT_TYPE})
    assert (answer.status_code, answer.headers.get("Location")) == (404, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/dicom"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+xml"; boundary=x'}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=x'}, 415),
        ({"Content-Type": 'multipart/form-data; type="application/dicom"; boundary=x'}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": f'multipart/related; type="application/dicom"; boundary="{"x" * 129}"'}, 400),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "application/dicom+xml;q=0, application/dicom+json;q=0.0"}, 406),
        ({"Accept": "application/dicom+xml, application/dicom+json;q=0.5"}, 200),
        ({"Accept": "application/json"}, 200),
        ({"Accept": "application/dicom+json;q=0, application/json"}, 406),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 200),
    ],
)
def test_media_types(stow: Stow, headers: dict[str, str], status: int) -> None:
    answer = stow.post(body(*images(1)), **headers)
    assert answer.status_code == status, answer.text
    assert stow.held() == (status == 200)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no multipart",
        body()[:-4],
        body(),
        body(*images(1)).replace(b"\r\nContent", b"\nContent"),
        body(*images(1), head=b"X-A: b\r\n" * 9 + PART),
        body(*images(1), head=b"X-A: " + b"b" * 2000 + b"\r\n" + PART),
    ],
    ids=["empty", "text", "cut", "no-part", "bare-line-feed", "many-part-headers", "long-part-header"],
)
def test_bodies_that_are_no_multipart_are_bad_requests(stow: Stow, content: bytes) -> None:
    answer = stow.post(content)
    assert answer.status_code == 400, answer.text
    assert stow.held() == 0


@pytest.mark.parametrize("cut", [1, 1 << 20])
@pytest.mark.parametrize(
    ("before", "padding", "status"),
    [
        (b"This is a message in MIME format.\r\n", b"", 200),
        (b"\r\n--" + BOUNDARY.encode() + b"-other\r\n\r\n", b"", 400),
        (b"", b" \t ", 200),
        (b"x" * 900 + b"\r\n", b" ", 200),
        (b"x" * 1024 + b"\r\n", b"", 400),
        (b"glued to ", b"", 400),
    ],
    ids=["preamble", "damaged", "padding", "both", "long-preamble", "no-line"],
)
def test_what_rfc_2046_has_receivers_ignore(stow: Stow, before: bytes, padding: bytes, status: int, cut: int) -> None:
    delimiter = b"--" + BOUNDARY.encode()
    whole = before + body(*images(2)).replace(delimiter + b"\r\n", delimiter + padding + b"\r\n")
    chunks = [whole[at : at + cut] for at in range(0, min(2000, len(whole)), cut)] if cut == 1 else [whole]
    if cut == 1:
        chunks.append(whole[2000:])
    answer = stow.client.post("/dicom-web/studies", content=iter(chunks), headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == status, answer.text
    assert stow.held() == (2 if status == 200 else 0)


def test_a_cut_body_keeps_what_was_whole_and_says_so(stow: Stow) -> None:
    whole = body(*images(2))
    answer = stow.post(whole[: len(whole) - 300])
    assert answer.status_code == 400
    assert len(references(answer, STORED)) == 1
    assert stow.held() == 1


def test_limits_are_told(start: Callable[..., Stow]) -> None:
    limited = start(maximum_request_mb=2, maximum_part_mb=1, maximum_parts=3)
    small = images(4)
    assert limited.post(b"x" * (2 << 20 | 1)).status_code == 413
    too_long = (b"x" * (1 << 16) for _ in range(33))
    headers = {"Content-Type": CONTENT_TYPE}
    answer = limited.client.post("/dicom-web/studies", content=too_long, headers=headers)
    assert answer.status_code in (400, 413)
    many = limited.post(body(*small))
    assert many.status_code == 413
    assert len(references(many, STORED)) == 3
    image = axial_series(1)[0]
    image.PixelData = bytes(1 << 20)
    image.SOPInstanceUID += ".9"
    large = limited.post(body(file_of(image), small[0]))
    assert large.status_code == 202
    assert references(large, FAILED) == [(str(image.SOPInstanceUID), 0xC000)]


def test_a_long_body_without_announced_length_is_cut_off(start: Callable[..., Stow]) -> None:
    limited = start(maximum_request_mb=2)
    content = (one for one in [body(*images(1))[:-4], b"\r\n" + PART, *[b"x" * (1 << 16)] * 33])
    answer = limited.client.post("/dicom-web/studies", content=content, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 413
    assert limited.held() == 1


def test_full_disk_is_told_with_when_to_come_again(start: Callable[..., Stow]) -> None:
    full = start(minimum_free_bytes=1 << 60)
    answer = full.post(body(*images(3)))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert [reason for _, reason in references(answer, FAILED)] == [0xA700]
    assert full.held() == 0


def test_one_request_too_many_is_asked_to_come_again(start: Callable[..., Stow]) -> None:
    one = start(maximum_requests=1)
    with socket.create_connection(("127.0.0.1", one.port)) as slow:
        slow.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: 1000\r\n\r\n".encode()
        )
        time.sleep(0.5)
        answer = one.post(body(*images(1)))
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    deadline = time.monotonic() + 10
    while one.post(body(*images(1))).status_code == 503:
        assert time.monotonic() < deadline, "a sender that went away keeps its place"
        time.sleep(0.05)


def test_a_sender_that_goes_away_leaves_nothing_half(stow: Stow) -> None:
    whole = body(*images(2))
    with socket.create_connection(("127.0.0.1", stow.port)) as leaving:
        leaving.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
            + whole[:-300]
        )
        time.sleep(0.5)
    assert stow.post(body(*images(2))).status_code == 200
    assert stow.held() == 2
    assert unfinished_bytes(stow.folder) == 0


def test_curl_stores(stow: Stow, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(body(*images(3)))
    done = subprocess.run(
        [
            "curl", "--silent", "--show-error", "--fail-with-body", "--header", f"Authorization: Bearer {TOKEN}",
            "--header", f"Content-Type: {CONTENT_TYPE}", "--data-binary", f"@{tmp_path / 'body'}",
            f"http://127.0.0.1:{stow.port}/dicom-web/studies",
        ],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count(b"00081155") == 3


@pytest.mark.parametrize("status", ["401", "413"])
def test_curl_hears_why_a_large_body_is_not_read(start: Callable[..., Stow], tmp_path: Path, status: str) -> None:
    limited = start(maximum_request_mb=2)
    (tmp_path / "body").write_bytes(bytes(8 << 20))
    token = TOKEN if status == "413" else "wrong"
    done = subprocess.run(
        [
            "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}",
            "--header", f"Authorization: Bearer {token}", "--header", f"Content-Type: {CONTENT_TYPE}",
            "--data-binary", f"@{tmp_path / 'body'}", f"http://127.0.0.1:{limited.port}/dicom-web/studies",
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == status


def test_audit_is_told_what_came_and_who_had_no_token(start: Callable[..., Stow]) -> None:
    told: list[AssociationEvent] = []
    stow = start(told=told)
    three = images(3)
    assert stow.post(body(*three[:2])).status_code == 200
    assert stow.post(body(*images(1)), Authorization="Bearer wrong").status_code == 401
    assert stow.post(body(*images(1))[:-30]).status_code == 400
    assert stow.post(body(*three)).status_code == 200
    assert [(one.kind, one.address) for one in told] == [
        (kind, "127.0.0.1") for kind in (EventKind.ENDED, EventKind.REJECTED, EventKind.ABORTED, EventKind.ENDED)
    ]
    first, *without, again = [one.studies for one in told]
    assert first == {STUDY_UID: Brought(new=Counter({CTImageStorage: 2}))}
    assert without == [{}, {}]
    assert again == {STUDY_UID: Brought(new=Counter({CTImageStorage: 1}), repeats=Counter({CTImageStorage: 2}))}
