"""Every sending tool of dcmtk, in every transfer syntax that it can propose for images."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, CTImageStorage, JPEG2000Lossless, SecondaryCaptureImageStorage
from pynetdicom.dsutils import split_dataset

from dicom_node.spool.extraction import extract
from tests.dimse.conftest import OUR_AE, Receiver, kept
from tests.spool_contents import stored_files
from tests.synthetic_ct import ct_slice, set_pixels

PIXELS = (np.add.outer(np.arange(64), np.arange(64)) * 7 % 4096).astype(np.uint16)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


def save(image: Dataset, path: Path) -> Path:
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)
    return path


def ct_file(folder: Path, number: int = 1) -> Path:
    image = ct_slice(number, (0, 0, number), stored=PIXELS)
    image.BitsStored, image.HighBit = 12, 11
    return save(image, folder / f"{number}.dcm")


def picture_of_bytes(folder: Path) -> Path:
    """A secondary capture with 8 bits, which baseline JPEG needs."""
    image = ct_slice(1, (0, 0, 1), sop_class_uid=SecondaryCaptureImageStorage)
    image.Rows = image.Columns = 64
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelData = (PIXELS // 16).astype(np.uint8).tobytes()
    return save(image, folder / "bytes.dcm")


def encoded_by(*tool: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        source = picture_of_bytes(folder) if "+eb" in tool else ct_file(folder)
        target = folder / "encoded.dcm"
        done = run(*tool, source, target)
        assert done.returncode == 0, done.stderr
        return target

    return make


def jpeg_2000(syntax: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        image = ct_slice(1, (0, 0, 1))
        set_pixels(image, PIXELS)
        stream = imagecodecs.jpeg2k_encode(PIXELS, reversible=syntax == JPEG2000Lossless, codecformat="j2k")
        image.PixelData = encapsulate([bytes(stream)])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = syntax
        return save(image, folder / "encoded.dcm")

    return make


def only_file(receiver: Receiver, folder: Path) -> tuple[Dataset, bytes]:
    """File meta information and data set of the one instance that is there, in a file that dcmtk reads to its end."""
    (file,) = stored_files(receiver.spool)
    extract(file, folder / "extracted.dcm")
    read = run("dcmdump", folder / "extracted.dcm")
    assert read.returncode == 0, read.stderr
    meta, offset = split_dataset(folder / "extracted.dcm")
    return meta, (folder / "extracted.dcm").read_bytes()[offset:]


@pytest.mark.parametrize(
    ("option", "make", "transfer_syntax"),
    [
        pytest.param("-x=", ct_file, "1.2.840.10008.1.2.1", id="-x= uncompressed"),
        pytest.param("-xe", ct_file, "1.2.840.10008.1.2.1", id="-xe explicit little endian"),
        pytest.param("-xb", ct_file, "1.2.840.10008.1.2.1", id="-xb big endian, or little, which the node prefers"),
        pytest.param("-xi", ct_file, "1.2.840.10008.1.2", id="-xi implicit"),
        pytest.param("-xd", ct_file, "1.2.840.10008.1.2.1.99", id="-xd deflated"),
        pytest.param("-xs", encoded_by("dcmcjpeg", "+e1"), "1.2.840.10008.1.2.4.70", id="-xs JPEG lossless"),
        pytest.param("-xy", encoded_by("dcmcjpeg", "+eb"), "1.2.840.10008.1.2.4.50", id="-xy JPEG of 8 bits"),
        pytest.param("-xx", encoded_by("dcmcjpeg", "+ee"), "1.2.840.10008.1.2.4.51", id="-xx JPEG of 12 bits"),
        pytest.param("-xt", encoded_by("dcmcjpls", "+el"), "1.2.840.10008.1.2.4.80", id="-xt JPEG-LS"),
        pytest.param("-xu", encoded_by("dcmcjpls", "+en"), "1.2.840.10008.1.2.4.81", id="-xu JPEG-LS near-lossless"),
        pytest.param("-xv", jpeg_2000(JPEG2000Lossless), "1.2.840.10008.1.2.4.90", id="-xv JPEG 2000 lossless"),
        pytest.param("-xw", jpeg_2000(JPEG2000), "1.2.840.10008.1.2.4.91", id="-xw JPEG 2000"),
        pytest.param("-xr", encoded_by("dcmcrle"), "1.2.840.10008.1.2.5", id="-xr RLE"),
    ],
)
def test_storescu_in_every_transfer_syntax(
    receiver: Receiver, tmp_path: Path, option: str, make: Callable[[Path], Path], transfer_syntax: str
) -> None:
    path = make(tmp_path)
    done = run("storescu", "-v", option, "-aec", OUR_AE, "127.0.0.1", receiver.port, path)
    assert done.returncode == 0, done.stderr
    meta, encoded = only_file(receiver, tmp_path)
    sent_meta, sent_offset = split_dataset(path)
    assert meta.TransferSyntaxUID == transfer_syntax
    if sent_meta.TransferSyntaxUID == meta.TransferSyntaxUID:  # else storescu has encoded the file anew
        assert encoded == path.read_bytes()[sent_offset:]
    assert meta.MediaStorageSOPInstanceUID == sent_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize("option", ["-xm", "-xh", "-xn", "-xl", "-x2", "-x3", "-xo", "-x4", "-x5"])
def test_films_are_not_taken(receiver: Receiver, tmp_path: Path, option: str) -> None:
    done = run("storescu", option, "-R", "-aec", OUR_AE, "127.0.0.1", receiver.port, ct_file(tmp_path))
    assert done.returncode != 0
    assert kept(receiver.spool) == []


@pytest.mark.parametrize("tool", [["dcmsend"], ["storescu", "+C"], ["storescu", "-pdu", "4096"], ["dcmsend", "-ma"]])
def test_a_folder_of_images(receiver: Receiver, tmp_path: Path, tool: list[str]) -> None:
    paths = [ct_file(tmp_path, number) for number in range(1, 21)]
    done = run(*tool, "-aec", OUR_AE, "127.0.0.1", receiver.port, *paths)
    assert done.returncode == 0, done.stderr
    receiver.intake.flush()
    assert sorted(kept(receiver.spool)) == sorted(path.read_bytes()[split_dataset(path)[1] :] for path in paths)


def test_user_identity_and_abort_and_echo(receiver: Receiver, tmp_path: Path) -> None:
    path = ct_file(tmp_path)
    identified = run("storescu", "-usr", "me", "-pwd", "secret", "-aec", OUR_AE, "127.0.0.1", receiver.port, path)
    assert identified.returncode == 0, identified.stderr
    assert run("storescu", "--abort", "-aec", OUR_AE, "127.0.0.1", receiver.port, path).returncode == 0
    echoed = run("echoscu", "--repeat", "5", "--propose-ts", "8", "-aec", OUR_AE, "127.0.0.1", receiver.port)
    assert echoed.returncode == 0, echoed.stderr
    assert run("echoscu", "--abort", "-aec", OUR_AE, "127.0.0.1", receiver.port).returncode == 0
    meta, _ = only_file(receiver, tmp_path)
    assert meta.MediaStorageSOPClassUID == CTImageStorage
