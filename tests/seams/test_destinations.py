"""One suite for destinations, against receivers of three makers: dcmtk's storescp, Orthanc, and our own Storage SCP."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    EncapsulatedCDAStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt

from dicom_node.delivery import Address, DimseDestination, send_folder
from dicom_node.delivery.status import Meaning
from dicom_node.demonstration.archive import Archive
from dicom_node.demonstration.orthanc import OrthancServer, free_port
from dicom_node.errors import PeerUnavailable
from dicom_node.records import ResultKind, ResultObject
from dicom_node.settings import DestinationSettings
from tests.refusing_peer import association_configuration
from tests.synthetic_ct import ct_slice

RECEIVERS = ("dcmtk", "orthanc", "own")
AE_TITLE = "PACS"


@dataclass(frozen=True, kw_only=True)
class Receiving:
    """A running receiver: where it listens, and which instances it holds."""

    port: int
    instances: Callable[[], int]
    ae_title: str = AE_TITLE
    kill: Callable[[], None] | None = None


def start_storescp(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen(["storescp", "-aet", AE_TITLE, "-od", str(folder), *options, str(port)])
    deadline = time.monotonic() + 20
    while subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
    return process, port


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., Receiving]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> Receiving:
        folder = tmp_path / "storescp"
        process, port = start_storescp(folder, *options)
        running.append(process)
        return Receiving(port=port, instances=lambda: len(list(folder.iterdir())), kill=process.kill)

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(params=RECEIVERS)
def receiving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiving]:
    if request.param == "dcmtk":
        yield request.getfixturevalue("storescp")("+xa")
    elif request.param == "orthanc":
        with OrthancServer(tmp_path / "orthanc") as orthanc:
            yield Receiving(
                port=orthanc.dicom_port,
                ae_title="ORTHANC",
                instances=lambda: len(orthanc.modalities_of(ct_slice(1, (0, 0, 0)).StudyInstanceUID)),
            )
    else:
        with Archive(tmp_path / "archive", ae_title=AE_TITLE) as archive:
            yield Receiving(port=archive.port, instances=lambda: len(archive.received()))


def result(folder: Path, number: int, sop_class_uid: str = CTImageStorage) -> ResultObject:
    folder.mkdir(exist_ok=True)
    image = ct_slice(number, (0.0, 0.0, float(number)), sop_class_uid=sop_class_uid)
    image.PatientID, image.PatientName = "P", "P"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    path = folder / f"{number}.dcm"
    image.save_as(path, enforce_file_format=True)
    return ResultObject(
        kind=ResultKind.SUMMARY, sop_instance_uid=str(image.SOPInstanceUID), sop_class_uid=sop_class_uid,
        series_uid=str(image.SeriesInstanceUID), path=path,
    )  # fmt: skip


def destination(port: int, *, ae_title: str = AE_TITLE) -> DimseDestination:
    settings = DestinationSettings(
        name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, connect_timeout_s=5, response_timeout_s=5
    )
    return DimseDestination(settings, calling_ae="DICOMNODE")


def test_objects_arrive_once_also_when_sent_again(tmp_path: Path, receiving: Receiving) -> None:
    objects = [result(tmp_path / "results", number) for number in range(3)]
    target = destination(receiving.port, ae_title=receiving.ae_title)
    target.echo()
    for _ in range(2):
        outcomes = list(target.send(objects))
        assert [one.sop_instance_uid for one in outcomes] == [one.sop_instance_uid for one in objects]
        assert all(one.accepted for one in outcomes), outcomes
    assert receiving.instances() == 3


def test_sop_class_that_is_not_taken_is_refused_for_good_and_the_rest_arrives(tmp_path: Path) -> None:
    objects = [result(tmp_path / "results", 1, EncapsulatedCDAStorage), result(tmp_path / "results", 2)]
    with Archive(tmp_path / "archive", ae_title=AE_TITLE) as archive:
        outcomes = list(destination(archive.port).send(objects))
        assert [one.meaning for one in outcomes] == [Meaning.UNSUPPORTED, Meaning.ACCEPTED]
        assert len(archive.received()) == 1


def test_destination_that_takes_none_of_the_sop_classes_refuses_for_good(tmp_path: Path) -> None:
    objects = [result(tmp_path / "results", 1, EncapsulatedCDAStorage)]
    with Archive(tmp_path / "archive", ae_title=AE_TITLE) as archive:
        outcomes = list(destination(archive.port).send(objects))
        assert [one.meaning for one in outcomes] == [Meaning.UNSUPPORTED]
        folder_outcomes = send_folder(tmp_path / "results", Address(AE_TITLE, "127.0.0.1", archive.port))
        assert [one.meaning for one in folder_outcomes] == [Meaning.UNSUPPORTED]


def test_classes_outside_the_configuration_of_a_peer_are_not_supported(
    tmp_path: Path, storescp: Callable[..., Receiving]
) -> None:
    configuration = association_configuration(tmp_path / "storescp.cfg", "SecondaryCaptureImageStorage")
    receiving = storescp("-xf", str(configuration), "Chosen")
    objects = [
        result(tmp_path / "results", number, sop_class)
        for number, sop_class in enumerate((SegmentationStorage, SecondaryCaptureImageStorage, ComprehensiveSRStorage))
    ]
    outcomes = list(destination(receiving.port).send(objects))
    assert {one.sop_instance_uid: one.meaning for one in outcomes} == dict(
        zip(
            [one.sop_instance_uid for one in objects],
            (Meaning.UNSUPPORTED, Meaning.ACCEPTED, Meaning.UNSUPPORTED),
            strict=True,
        )
    )
    assert "Segmentation Storage" in outcomes[0].message
    assert receiving.instances() == 1


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (0x0122, Meaning.UNSUPPORTED),
        (0xA900, Meaning.UNSUPPORTED),
        (0xA9FE, Meaning.UNSUPPORTED),
        (0x0124, Meaning.REFUSED),
        (0xC000, Meaning.REFUSED),
        (0xA700, Meaning.LATER),
    ],
)
def test_status_of_a_peer_says_whether_another_class_may_do(tmp_path: Path, status: int, meaning: Meaning) -> None:
    peer = AE(ae_title=AE_TITLE)
    peer.add_supported_context(CTImageStorage)
    server = peer.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _event: status)])
    try:
        outcomes = list(destination(server.server_address[1]).send([result(tmp_path / "results", 1)]))
    finally:
        server.shutdown()
        server.server_close()
    assert [(one.status, one.meaning) for one in outcomes] == [(status, meaning)]


def test_peer_with_the_default_syntax_only_gets_it(tmp_path: Path, storescp: Callable[..., Receiving]) -> None:
    receiving = storescp("+xi")
    assert all(one.accepted for one in destination(receiving.port).send([result(tmp_path / "results", 1)]))
    assert receiving.instances() == 1


def test_unreadable_result_is_refused_and_named(tmp_path: Path, storescp: Callable[..., Receiving]) -> None:
    whole, cut = result(tmp_path / "results", 1), result(tmp_path / "results", 2)
    cut.path.write_bytes(b"")
    outcomes = list(destination(storescp("+xa").port).send([cut, whole]))
    assert [(one.sop_instance_uid, one.meaning) for one in outcomes] == [
        (cut.sop_instance_uid, Meaning.REFUSED),
        (whole.sop_instance_uid, Meaning.ACCEPTED),
    ]


# pynetdicom drops a refused socket without closing it; CPython closes it in the same moment, and warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there_is_for_later(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable):
        list(destination(free_port()).send([result(tmp_path / "results", 1)]))


def test_wrong_ae_title_says_that_it_was_rejected(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", ae_title=AE_TITLE) as archive, pytest.raises(PeerUnavailable, match="rejected"):
        destination(archive.port, ae_title="SOMEONE").echo()


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_peer_that_aborts_over_each_object_is_offered_the_others(
    tmp_path: Path, storescp: Callable[..., Receiving], option: str
) -> None:
    target = destination(storescp("+xa", option).port)
    objects = [result(tmp_path / "results", number) for number in range(2)]
    outcomes = list(target.send(objects))
    assert [one.sop_instance_uid for one in outcomes] == [one.sop_instance_uid for one in objects]
    assert all(one.meaning is Meaning.LATER for one in outcomes)


def test_peer_killed_in_the_middle_keeps_what_it_acknowledged(
    tmp_path: Path, storescp: Callable[..., Receiving]
) -> None:
    receiving = storescp("+xa")
    assert receiving.kill is not None
    sent = destination(receiving.port).send([result(tmp_path / "results", number) for number in range(5)])
    assert next(sent).accepted
    receiving.kill()
    with pytest.raises(PeerUnavailable):
        list(sent)


@pytest.mark.real_data
def test_folder_in_all_transfer_syntaxes_is_sent_as_it_is(
    shared_data: Path, storescp: Callable[..., Receiving]
) -> None:
    folder = shared_data / "dicom_transfer_syntaxes"
    outcomes = send_folder(folder, Address(AE_TITLE, "127.0.0.1", storescp("+xa").port))
    assert len(outcomes) == len(list(folder.glob("*.dcm")))
    assert all(one.accepted or "does not take" in one.message for one in outcomes), outcomes
