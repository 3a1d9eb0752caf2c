"""A whole node with TLS at both doors, and the trail it leaves: every event in a valid message, no patient in any."""

import subprocess
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import free_port
from dicom_node.demonstration.phantom_study import write_phantom_study
from tests.certificates import Authority, Pair
from tests.unit.audit.audit_schema import valid_message

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


def shown(pair: Pair, authority: Authority) -> list[str]:
    return ["+tls", str(pair.key), str(pair.certificate), "+cf", str(authority.ca)]


def settings_file(path: Path, authority: Authority, archive_port: int) -> Path:
    node = authority.peer("node")
    files = f"certificate = '{node.certificate}'\nkey = '{node.key}'\nca = '{authority.ca}'\n"
    path.write_text(
        f"[scp.tls]\n{files}"
        "[[scp.peers]]\nae_title = 'CT1'\naddress = '127.0.0.0/8'\nrights = ['store']\ncertificate_name = 'ct1'\n"
        "[completeness]\nsettle_s = 1\n"
        f"[[destinations]]\nname = 'archive'\nae_title = 'ARCHIVE'\nhost = 'localhost'\nport = {archive_port}\n"
        f"[destinations.tls]\n{files}"
    )
    return path


def test_study_goes_through_encrypted_and_the_trail_tells_it(tmp_path: Path, authority: Authority) -> None:
    study = write_phantom_study(
        tmp_path / "study", kind="ct", slices=48, size_px=128, seed=3, truth_folder=tmp_path / "truth"
    )
    received = tmp_path / "archive"
    received.mkdir()
    port = free_port()
    archive = ["storescp", "-aet", "ARCHIVE", "-od", str(received), *shown(authority.peer("archive"), authority)]
    storescp = subprocess.Popen([*archive, str(port)])
    configuration = settings_file(tmp_path / "node.toml", authority, port)
    try:
        with NodeProcess(tmp_path / "node", ["--config", str(configuration)]) as node:
            where = ["-aec", "DICOMNODE", "localhost", str(node.dicom_port)]
            ct1 = shown(authority.peer("ct1"), authority)
            for wrong in (["echoscu", *where], ["echoscu", "-aet", "CT2", *ct1, *where]):
                assert subprocess.run(wrong, capture_output=True, timeout=60, check=False).returncode != 0
            sending = ["storescu", "-xe", "-aet", "CT1", *ct1, "+sd", *where, str(study.folder)]
            subprocess.run(sending, check=True, capture_output=True, timeout=120)
            overview = node.wait_until_settled(study.study_uid, timeout_s=120)
    finally:
        storescp.kill()
        storescp.wait()
    assert overview["state"] == "done", overview["reason"]
    assert len(list(received.iterdir())) == len({one["kind"] for one in overview["deliveries"]})

    trail = (tmp_path / "node" / "audit" / "audit.log").read_bytes()
    messages = [valid_message(line) for line in trail.splitlines()]
    ids = [one.find("EventIdentification/EventID").get("csd-code") for one in messages]
    assert (ids[0], ids[-1]) == ("110100", "110100")
    told = Counter(ids)
    assert told["110113"] == 2, "one alert at once, and at the end the number of those that came from there meanwhile"
    assert told["110102"] >= 1
    assert told["110104"] >= 2, "what came, and what went"
    alerts = [one for one in messages if one.find("EventIdentification/EventID").get("csd-code") == "110113"]
    assert [one.findtext("EventIdentification/EventOutcomeDescription") for one in alerts] == [
        "speaks no TLS on this port",
        "calling AE title is no known peer (1 times since the alert before)",
    ]
    came = messages[ids.index("110104")]
    assert came[1].get("AlternativeUserID") == "AETITLES=CT1"
    assert came.find(".//SOPClass").get("NumberOfInstances") == "48"
    assert {one.get("ParticipantObjectID") for one in came.iterfind("ParticipantObjectIdentification")} == {
        study.study_uid
    }
    patient = pydicom.dcmread(study.images[0], stop_before_pixels=True)
    for secret in (str(patient.PatientName), patient.PatientID):
        assert secret
        assert secret.encode() not in trail
        assert secret not in node.log.read_text()
