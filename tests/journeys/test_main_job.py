"""The main job with real peers: dcmtk's storescu sends, the node works, a real Orthanc gets the results."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import highdicom as hd
import httpx
import pydicom
import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import OrthancServer
from dicom_node.demonstration.overlap import dice_against_truth
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from dicom_node.spool import SegmentSpool
from tests.spool_contents import content, stored_files

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
SETTLE_S = 3.0
SEG, SR, SC = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
KO = "1.2.840.10008.5.1.4.1.1.88.59"


def generated(folder: Path, *, slices: int, size_px: int, seed: int, normal: bool) -> PhantomStudy:
    """A phantom study; its truth lies beside its folder, not in it, so that it is not sent."""
    return write_phantom_study(
        folder / "study", kind="ct", slices=slices, size_px=size_px, seed=seed, normal=normal,
        truth_folder=folder / "truth",
    )  # fmt: skip


def dciodvfy_errors(path: Path) -> list[str]:
    checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]


# The public series came without UIDs: storescu invents them, one study and one series for the whole folder.
INVENT_UIDS = ("+II", "+IR", "1000", "+IS", "10")


def send_with_dcmtk(folder: Path, port: int, *options: str) -> None:
    subprocess.run(
        ["storescu", *options, "-aec", "DICOMNODE", "+sd", "+r", "127.0.0.1", str(port), str(folder)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def downloaded(orthanc: OrthancServer, study_uid: str, folder: Path) -> dict[str, Path]:
    """The results in Orthanc's study by SOP Class UID."""
    found: dict[str, Path] = {}
    folder.mkdir()
    for number, encoded in enumerate(orthanc.files_of(study_uid)):
        path = folder / f"{number}.dcm"
        path.write_bytes(encoded)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.SOPClassUID in (SEG, SR, SC, KO):
            assert header.SOPClassUID not in found, "a result came twice"
            found[str(header.SOPClassUID)] = path
    return found


@pytest.mark.real_data
def test_real_study_in_jpeg_lossless_comes_back_with_its_results(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "covid_ct_md" / "P002_covid"
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        with NodeProcess(tmp_path / "node", ["--settle", str(SETTLE_S), "--destination", destination]) as node:
            send_with_dcmtk(folder, node.dicom_port, "-xs", *INVENT_UIDS)
            study_uid = str(node.get("/api/studies")[0]["study_uid"])
            overview = node.wait_until_settled(study_uid, timeout_s=300)
        results = downloaded(orthanc, study_uid, tmp_path / "results")
        received = [
            pydicom.dcmread(BytesIO(content(file)), stop_before_pixels=True)
            for file in stored_files(SegmentSpool(tmp_path / "node" / "spool"))
        ]
    assert overview["state"] == "done", overview["reason"]
    assert overview["findings"]["status"] == "positive"
    assert set(results) == {SEG, SR, SC, KO}
    for path in results.values():
        assert dciodvfy_errors(path) == []
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert header.PatientID == received[0].PatientID
        assert header.SeriesInstanceUID not in {instance.SeriesInstanceUID for instance in received}
    position = {instance.SOPInstanceUID: list(instance.ImagePositionPatient) for instance in received}
    segmentation = hd.seg.segread(results[SEG])
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == [
        "Left lung", "Right lung", "Infected region",
    ]  # fmt: skip
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == pytest.approx(position[source], abs=1e-3)


def test_generated_study_in_plain_syntax_agrees_with_its_truth(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=60, size_px=256, seed=11, normal=False)
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        with NodeProcess(tmp_path / "node", ["--settle", "1", "--destination", destination]) as node:
            send_with_dcmtk(study.folder, node.dicom_port, "-xe")
            overview = node.wait_until_settled(study.study_uid, timeout_s=120)
            again = overview["generation"]
            send_with_dcmtk(study.folder, node.dicom_port, "-xe")  # identical repeats are no new work
            assert node.wait_until_settled(study.study_uid, timeout_s=60)["generation"] == again
        results = downloaded(orthanc, study.study_uid, tmp_path / "results")
    dice = dice_against_truth(results[SEG], study.truth)
    assert dice["lungs"] >= 0.93
    assert dice["infected region"] >= 0.70


def test_destination_that_comes_back_gets_everything(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=48, size_px=128, seed=3, normal=False)
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        port = orthanc.dicom_port
    with NodeProcess(tmp_path / "node", ["--settle", "1", "--destination", f"pacs=ORTHANC@127.0.0.1:{port}"]) as node:
        send_with_dcmtk(study.folder, node.dicom_port, "-xe")
        node.wait_for(
            f"/api/studies/{study.study_uid}",
            lambda overview: any(one["tries"] for one in overview["deliveries"]),
            timeout_s=60,
        )
        with OrthancServer(tmp_path / "orthanc2", dicom_port=port) as orthanc:
            overview = node.wait_until_settled(study.study_uid, timeout_s=60)
            assert overview["state"] == "done"
            assert sorted(orthanc.modalities_of(study.study_uid)) == ["KO", "OT", "SEG", "SR"]


def test_log_and_console_tell_of_the_study_and_not_of_the_patient(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=48, size_px=128, seed=4, normal=True)
    header = pydicom.dcmread(next(study.folder.glob("*.dcm")), stop_before_pixels=True)
    with NodeProcess(tmp_path / "node", ["--settle", "0.5"]) as node:
        send_with_dcmtk(study.folder, node.dicom_port, "-xe")
        node.wait_until_settled(study.study_uid, timeout_s=60)
        console = "".join(
            httpx.get(f"http://127.0.0.1:{node.web_port}{path}").text for path in ("/", f"/studies/{study.study_uid}")
        )
        assert node.stop() == 0
    log = node.log.read_text()
    assert '"event": "study_analysed"' in log
    assert console.count("Research use only") == 2
    assert "lungs_unet" in console
    assert study.study_uid in console
    for secret in (str(header.PatientName), header.PatientID):
        assert secret not in log
        assert secret not in console
    names = {path.name for path in node.data_dir.rglob("*")}
    assert not any(header.PatientID in name for name in names)


def test_late_instances_get_a_job_of_their_own(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=48, size_px=128, seed=5, normal=False)
    late = tmp_path / "late"
    late.mkdir()
    for path in sorted(study.folder.glob("*.dcm"))[40:]:
        path.rename(late / path.name)
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        with NodeProcess(tmp_path / "node", ["--settle", "1", "--destination", destination]) as node:
            send_with_dcmtk(study.folder, node.dicom_port, "-xe")
            assert node.wait_until_settled(study.study_uid, timeout_s=60)["generation"] == 1
            send_with_dcmtk(late, node.dicom_port, "-xe")
            overview = node.wait_until_settled(study.study_uid, timeout_s=60)
        assert (overview["generation"], overview["state"]) == (2, "done")
        assert sorted(orthanc.modalities_of(study.study_uid)) == ["KO", "KO", "OT", "OT", "SEG", "SEG", "SR", "SR"]


def test_study_without_working_models_is_reported_not_forgotten(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=48, size_px=128, seed=6, normal=False)
    (tmp_path / "no-models").mkdir()
    config = tmp_path / "node.toml"
    config.write_text("[engine]\nrepository = 'no-models'\n")
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        flags = [
            "--config",
            str(config),
            "--settle",
            "1",
            "--destination",
            f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}",
        ]
        with NodeProcess(tmp_path / "node", flags) as node:
            assert node.get("/health/ready") is None  # 503: the models are not there
            send_with_dcmtk(study.folder, node.dicom_port, "-xe")
            overview = node.wait_until_settled(study.study_uid, timeout_s=60)
        assert overview["state"] == "done"
        assert overview["findings"]["status"] == "not_analysed"
        assert "lungs_unet" in overview["findings"]["reason"]
        assert '"event": "model_not_usable"' in node.log.read_text()
        assert all(line.startswith("{") for line in node.log.read_text().splitlines())
        assert "SR" in orthanc.modalities_of(study.study_uid)


def test_retry_of_a_finished_study_doubles_nothing(tmp_path: Path) -> None:
    study = generated(tmp_path, slices=48, size_px=128, seed=8, normal=False)
    with OrthancServer(tmp_path / "orthanc") as orthanc:
        destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        with NodeProcess(tmp_path / "node", ["--settle", "1", "--destination", destination]) as node:
            send_with_dcmtk(study.folder, node.dicom_port, "-xe")
            before = node.wait_until_settled(study.study_uid, timeout_s=60)["results"]
            command = [sys.executable, "-m", "dicom_node", "retry", study.study_uid, "--data-dir", str(node.data_dir)]
            asked = subprocess.run(command, check=True, capture_output=True, text=True)
            assert asked.stdout == "queued: analysis and delivery\n"
            after = node.wait_for(
                f"/api/studies/{study.study_uid}",
                lambda found: [one["event"] for one in found["history"]].count("results_written") == 2,
                timeout_s=60,
            )["results"]
        assert after == before
        for result in after:
            held = pydicom.dcmread(result["path"], stop_before_pixels=True)
            assert held.SOPInstanceUID == result["sop_instance_uid"]
        assert sorted(orthanc.modalities_of(study.study_uid)) == ["KO", "OT", "SEG", "SR"]
