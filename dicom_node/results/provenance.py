"""What every result says about itself: patient and study of origin, own series, maker, time, character set.

Owns the attributes that all our objects share (PS3.3 C.7.3.1, C.7.5.1, C.7.5.2, C.12.1). Everything that a library
fills in by the clock is overwritten here, because the same request must give the same bytes.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.records import ResultKind
from dicom_node.results import codes
from dicom_node.results.request import ResultRequest
from dicom_node.results.study_header import StudyHeader

MANUFACTURER: Final = "dicom-node"
MODEL_NAME: Final = "dicom-node chest CT"
CONTENT_CREATOR: Final = "dicom-node^AI"

SERIES_NUMBERS: Final = {
    ResultKind.SEGMENTATION: 9001,
    ResultKind.REPORT: 9002,
    ResultKind.SUMMARY: 9003,
    ResultKind.KEY_OBJECTS: 9004,
    ResultKind.MEASUREMENTS: 9005,
}
"""High, so that the results stand behind the images in any viewer."""
SERIES_DESCRIPTIONS: Final = {
    ResultKind.SEGMENTATION: "AI research: lungs and infected region",
    ResultKind.REPORT: "AI research: CT lung report",
    ResultKind.SUMMARY: "AI research: summary picture",
    ResultKind.KEY_OBJECTS: "AI research: key images",
    ResultKind.MEASUREMENTS: "AI research: boxes of emboli",
}
_IMAGES: Final = (ResultKind.SEGMENTATION, ResultKind.SUMMARY)
"""Kinds with pixels, which say whether those were ever compressed with loss (PS3.3 C.7.6.1.1.5)."""

_TEXTS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations that Specific Character Set applies to (PS3.5 section 6.1.2.2)."""
UNICODE: Final = "ISO_IR 192"
"""UTF-8 as Specific Character Set (0008,0005)."""
_WITHOUT_TEXT: Final = "PerFrameFunctionalGroupsSequence"


def serial_number(request: ResultRequest) -> str:
    """Device Serial Number (0018,1000): what tells two set-ups of the same version apart."""
    return request.settings_digest[:16] or "0"


def stand_in(request: ResultRequest, *, series_uid: str, sop_instance_uid: str) -> Dataset:
    """An image of the study as highdicom wants to be shown one: identifiers, and nothing of the patient.

    Not the received instance: its patient attributes may be invalid, its class private; ``sign`` adds what is right.
    """
    image = Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(image, keyword, "")
    image.StudyDate = image.StudyTime = ""
    image.StudyInstanceUID = request.study_uid
    image.SeriesInstanceUID = series_uid
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = sop_instance_uid
    image.Modality = "CT"
    return image


def sign(result: Dataset, kind: ResultKind, request: ResultRequest, header: StudyHeader) -> None:
    """Complete a built object, in place."""
    header.copy_to(result)
    if kind in _IMAGES:
        result.update(header.lossy_compression)
    result.SeriesInstanceUID = request.uid(f"{kind.value}/series")
    result.SeriesNumber = SERIES_NUMBERS[kind]
    result.SeriesDescription = SERIES_DESCRIPTIONS[kind]
    result.SOPInstanceUID = request.uid(f"{kind.value}/instance")
    result.InstanceNumber = 1
    _date(result, request, header)
    result.Manufacturer = MANUFACTURER
    result.ManufacturerModelName = MODEL_NAME
    result.DeviceSerialNumber = serial_number(request)
    result.SoftwareVersions = request.software_version
    for equipment in result.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime  # highdicom's own entry, with the time of this very run
    if any(text == codes.PRIVATE_SCHEME for text in _texts(result)):
        result.CodingSchemeIdentificationSequence = [_private_scheme()]
    _set_character_set(result, header)


def _date(result: Dataset, request: ResultRequest, header: StudyHeader) -> None:
    """Dates in the time zone that the source's own dates are in, because one offset counts for all of them."""
    moment = local_moment(request, header)
    if header.timezone_offset:
        result.TimezoneOffsetFromUTC = header.timezone_offset
    day, clock = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    result.InstanceCreationDate = result.SeriesDate = result.ContentDate = day
    result.InstanceCreationTime = result.SeriesTime = result.ContentTime = clock


def local_moment(request: ResultRequest, header: StudyHeader) -> datetime:
    """When the result was made, in the time zone of the study."""
    if header.timezone_offset:
        return request.created_at.astimezone(_timezone(header.timezone_offset))
    return request.created_at


def _timezone(offset: str) -> timezone:
    sign = -1 if offset[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:])))


def _private_scheme() -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeName = codes.PRIVATE_SCHEME_NAME
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    return scheme


def _set_character_set(result: Dataset, header: StudyHeader) -> None:
    """The character set of the source where it holds every text of the result, else UTF-8.

    So a name keeps the bytes that the PACS knows it by, as far as possible. Code extensions (several sets) are
    given up for UTF-8: they would have to be re-encoded text by text.
    """
    texts = "".join(_texts(result))
    if "SpecificCharacterSet" in result:
        del result.SpecificCharacterSet
    if len(header.character_sets) == 1 and _holds(header.character_sets[0], texts):
        result.SpecificCharacterSet = header.character_sets[0]
    elif not texts.isascii():
        result.SpecificCharacterSet = UNICODE


def _holds(character_set: str, texts: str) -> bool:
    try:
        texts.encode("ascii" if character_set == "ISO_IR 6" else python_encoding[character_set])
    except UnicodeEncodeError:
        return False
    return True


def _texts(data_set: Dataset) -> Iterator[str]:
    for element in data_set:
        if element.VR == "SQ" and element.keyword != _WITHOUT_TEXT:
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXTS and element.value:
            values = element.value if element.VM > 1 else [element.value]
            yield from (str(value) for value in values)
