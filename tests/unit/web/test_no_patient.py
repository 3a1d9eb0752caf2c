"""What console and API show of a patient: nothing. So reading them is no access to patient data (PS3.15 A.5.3.6)."""

from pathlib import Path

import httpx

from dicom_node.index import Overview, open_database
from dicom_node.settings import WebSettings
from dicom_node.web.api import create_api
from dicom_node.web.console import create_console
from dicom_node.web.server import WebServer
from tests.synthetic_ct import STUDY_UID, axial_series
from tests.unit.web.stow_port import Stow, body, file_of

IDENTIFYING = {
    "PatientName": "MARKED^NAME",
    "PatientID": "MARKED-ID",
    "PatientBirthDate": "19010203",
    "PatientAddress": "MARKED STREET",
    "OtherPatientIDs": "MARKED-OTHER",
    "AccessionNumber": "MARKED-ACCESSION",
    "ReferringPhysicianName": "MARKED^PHYSICIAN",
    "InstitutionName": "MARKED HOSPITAL",
    "StudyDescription": "MARKED STUDY",
    "PatientComments": "MARKED COMMENT",
}
SHOWN = "Thorax 1.25"
"""The description of the series, typed at the scanner, is shown."""


def test_no_page_shows_who_the_patient_is(stow: Stow, tmp_path: Path) -> None:
    images = axial_series(3)
    for image in images:
        image.SeriesDescription = SHOWN
        for keyword, value in IDENTIFYING.items():
            setattr(image, keyword, value)
    assert stow.post(body(*map(file_of, images))).status_code == 200
    stow.intake.flush()
    overview = Overview(open_database(tmp_path / "node.sqlite"))
    api = create_api(overview=overview, readiness={}, version="1")
    api.include_router(create_console(overview=overview, readiness={}, models=tuple, version="1"))
    server = WebServer(api, WebSettings(port=0))
    server.start()
    try:
        pages = ("/", f"/studies/{STUDY_UID}", "/api/studies", f"/api/studies/{STUDY_UID}")
        answers = [httpx.get(f"http://127.0.0.1:{server.port}{page}") for page in pages]
    finally:
        server.stop()
    assert [answer.status_code for answer in answers] == [200] * 4
    shown = "".join(answer.text for answer in answers)
    assert (SHOWN in shown, STUDY_UID in shown) == (True, True)
    assert [value for value in (*IDENTIFYING.values(), "MARKED") if value in shown] == []
