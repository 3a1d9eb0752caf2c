"""A web port that stores, with what it stores into, and bodies for it."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.association import Intake
from dicom_node.index import Index
from dicom_node.spool import SegmentSpool
from dicom_node.web.server import WebServer
from tests.spool_contents import stored_files
from tests.synthetic_ct import axial_series

TOKEN = "0123456789abcdef" * 4  # not random: test names hold it, and parallel runs compare them
BOUNDARY = "a boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
PART = b"Content-Type: application/dicom\r\n\r\n"


def client_of(port: int) -> httpx.Client:
    """One that has the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)


@dataclass(frozen=True, kw_only=True)
class Stow:
    """A web port that stores, and what it stores into."""

    application: FastAPI
    client: httpx.Client
    server: WebServer
    port: int
    folder: Path
    spool: SegmentSpool
    index: Index
    intake: Intake

    def post(self, body: bytes, *, study_uid: str = "", **headers: str) -> httpx.Response:
        path = f"/dicom-web/studies/{study_uid}" if study_uid else "/dicom-web/studies"
        return self.client.post(path, content=body, headers={"Content-Type": CONTENT_TYPE, **headers})

    def held(self) -> int:
        return len(stored_files(self.spool))


def file_of(image: Dataset, **meta: str) -> bytes:
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    if not meta:
        return buffer.getvalue()
    image = dcmread(BytesIO(buffer.getvalue()))
    for keyword, value in meta.items():
        setattr(image.file_meta, keyword, value)
    changed = BytesIO()
    image.save_as(changed, enforce_file_format=False)
    return changed.getvalue()


def body(*files: bytes, head: bytes = PART) -> bytes:
    delimiter = b"--" + BOUNDARY.encode()
    return b"".join(delimiter + b"\r\n" + head + file + b"\r\n" for file in files) + delimiter + b"--\r\n"


def images(count: int) -> list[bytes]:
    return [file_of(image) for image in axial_series(count)]
