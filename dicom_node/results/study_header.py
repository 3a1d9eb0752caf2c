"""Patient and study attributes of the received images, made fit to be written again.

Owns which attributes travel from the source into the results (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2). They come from one
instance: the first analysed one, else the first that can be read. What is missing or invalid there stays empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from dicom_node.errors import InstanceRefused
from dicom_node.headers.elements import MalformedDataSet
from dicom_node.headers.part10 import open_part10
from dicom_node.headers.values import Values
from dicom_node.records import Part10File
from dicom_node.results.clean_values import cleaned, decode, known_character_sets
from dicom_node.results.request import ResultRequest

_ALWAYS: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2: written even when empty."""
_WHERE_PRESENT: Final = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
_DEIDENTIFICATION_METHOD: Final = "DeidentificationMethod"
"""The one attribute of several values: a step of the procedure each."""
_CODE_SEQUENCES: Final = ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence")
_CODE: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
MAXIMUM_CODES = 16
"""Items read of one code sequence; ours to choose."""

_LOSSY_COMPRESSION: Final = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_LOSSY: Final = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", JPEGLSNearLossless}
)
"""Transfer syntaxes that always lose; JPEG 2000 may or may not, the attribute tells."""
_SEXES: Final = ("M", "F", "O", "")
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyHeader:
    """What results share with their study."""

    attributes: Dataset
    """Patient and study attributes, each valid or empty. Not to be changed."""
    character_sets: tuple[str, ...]
    """Specific Character Set of the source, defined terms only."""
    lossy_compression: Dataset
    """Lossy Image Compression (0028,2110) and what belongs to it; empty where the source lost nothing.
    Once lossy, always lossy: images made from such pixels say so, too (PS3.3 C.7.6.1.1.5)."""
    timezone_offset: str
    """Timezone Offset From UTC (0008,0201), e.g. "+0100"; empty where the source does not say."""

    def copy_to(self, data_set: Dataset) -> None:
        """Put patient and study attributes into a result."""
        for element in self.attributes:
            data_set[element.tag] = element


def read_study_header(request: ResultRequest) -> StudyHeader:
    """The header of the study; without patient where no instance can be read. Never raises for what was received."""
    for file in _candidates(request):
        try:
            return _read(file, request.study_uid)
        except (InstanceRefused, MalformedDataSet, OSError):
            continue
    return StudyHeader(
        attributes=_attributes({}, request.study_uid),
        character_sets=(),
        lossy_compression=Dataset(),
        timezone_offset="",
    )


def _candidates(request: ResultRequest) -> Iterator[Part10File]:
    yield from (source.file for source in request.sources[:1])
    instances = sorted(request.instances, key=lambda instance: (instance.facts.modality != "CT",))
    yield from (instance.file for instance in instances)


def _read(file: Part10File, study_uid: str) -> StudyHeader:
    with open_part10(file) as encoded:
        walk = encoded.walk()
        values = Values(walk, encoded.find(walk, _WANTED))
        character_sets = known_character_sets(values.raw(_SPECIFIC_CHARACTER_SET))
        texts = {keyword: _text(values, keyword, character_sets) for keyword in (*_ALWAYS, *_WHERE_PRESENT)}
        attributes = _attributes(texts, study_uid)
        methods = _texts(values, _DEIDENTIFICATION_METHOD, character_sets)
        if methods:
            attributes.DeidentificationMethod = methods
        for keyword in _CODE_SEQUENCES:
            codes = _codes(values, keyword, character_sets)
            if codes:
                setattr(attributes, keyword, codes)
        lossy_compression = _lossy_compression(values, encoded.transfer_syntax_uid)
        offset = cleaned("SH", decode(values.raw(_TIMEZONE_OFFSET_FROM_UTC), ()))
    _state_deidentification(attributes)
    return StudyHeader(
        attributes=attributes,
        character_sets=character_sets,
        lossy_compression=lossy_compression,
        timezone_offset=_valid_offset(offset),
    )


def _attributes(texts: dict[str, str], study_uid: str) -> Dataset:
    attributes = Dataset()
    attributes.StudyInstanceUID = study_uid
    for keyword in _ALWAYS:
        setattr(attributes, keyword, texts.get(keyword, ""))
    if attributes.PatientSex not in _SEXES:
        attributes.PatientSex = ""
    for keyword in _WHERE_PRESENT:
        if texts.get(keyword):
            setattr(attributes, keyword, texts[keyword])
    return attributes


def _state_deidentification(attributes: Dataset) -> None:
    """Patient Identity Removed (0012,0062) must say how, when it says YES (PS3.3 table C.7-1)."""
    removed = attributes.get("PatientIdentityRemoved", "")
    if removed not in ("YES", "NO", ""):
        del attributes.PatientIdentityRemoved
    named = "DeidentificationMethod" in attributes or "DeidentificationMethodCodeSequence" in attributes
    if removed == "YES" and not named:
        attributes.DeidentificationMethod = "not stated in the source images"


def _text(values: Values, keyword: str, character_sets: tuple[str, ...]) -> str:
    return cleaned(dictionary_VR(keyword), decode(values.raw(_tag(keyword)), character_sets))


def _texts(values: Values, keyword: str, character_sets: tuple[str, ...]) -> list[str]:
    """Every value of the attribute that is valid and not empty."""
    stated = decode(values.raw(_tag(keyword)), character_sets).split("\\")
    return [text for value in stated if (text := cleaned(dictionary_VR(keyword), value))]


def _codes(values: Values, keyword: str, character_sets: tuple[str, ...]) -> list[Dataset]:
    codes = []
    for item in values.items(_tag(keyword), frozenset(map(_tag, _CODE)), maximum=MAXIMUM_CODES):
        texts = {name: _text(item, name, character_sets) for name in _CODE}
        if all(texts.values()):
            code = Dataset()
            for name, text in texts.items():
                setattr(code, name, text)
            codes.append(code)
    return codes


def _lossy_compression(values: Values, transfer_syntax_uid: str) -> Dataset:
    lossy = Dataset()
    if transfer_syntax_uid in _LOSSY or values.code(_tag("LossyImageCompression")) == "01":
        lossy.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            stated = decode(values.raw(_tag(keyword)), ()).split("\\")
            valid = [cleaned(dictionary_VR(keyword), value) for value in stated]
            if all(valid):
                setattr(lossy, keyword, valid)
    return lossy


def _valid_offset(text: str) -> str:
    """The offset where it has the form of PS3.3 C.12.1.1.8, from -1200 to +1400."""
    sign, digits = text[:1], text[1:]
    if sign not in ("+", "-") or len(digits) != 4 or not digits.isdecimal():
        return ""
    hours, minutes = int(digits[:2]), int(digits[2:])
    return text if hours <= 14 and minutes < 60 else ""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword  # noqa: S101 - the keywords above are in the dictionary: tested
    return tag


_WANTED: Final = frozenset(
    (
        _SPECIFIC_CHARACTER_SET,
        _TIMEZONE_OFFSET_FROM_UTC,
        *map(_tag, (*_ALWAYS, *_WHERE_PRESENT, _DEIDENTIFICATION_METHOD, *_CODE_SEQUENCES, *_LOSSY_COMPRESSION)),
    )
)
