"""Every code that results use, in one table.

Standard codes first (SNOMED CT, DICOM, LOINC, UCUM, RFC 5646); a test holds each against pydicom's dictionaries, or
finds its source in ``CITATIONS``. Where nothing standard says it, the private scheme does, each concept with its
definition in ``PRIVATE_DEFINITIONS``; every object that uses it declares it (PS3.3 C.12.1.1.1, Coding Scheme
Identification Sequence).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom.sr.coding import Code

PRIVATE_SCHEME: Final = "99DICOMNODE"
PRIVATE_SCHEME_NAME: Final = "dicom-node: severity of lung disease on CT"

# What a segment is (PS3.16 CID 7150, 7151, 244)
ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG: Final = Code("39607008", "SCT", "Lung")
LESION: Final = Code("52988006", "SCT", "Lesion")
ABNORMAL_OPACITY: Final = Code("112033", "DCM", "Abnormal opacity")
"""Narrows "lesion": the region joins ground-glass opacity and consolidation, which have no common SNOMED code."""
LEFT: Final = Code("7771000", "SCT", "Left")
RIGHT: Final = Code("24028007", "SCT", "Right")
BILATERAL: Final = Code("51440002", "SCT", "Bilateral")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")

# What highdicom adds by itself (PS3.16 CID 7203, 7202, 7005)
SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
SEGMENTED_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")

# The document and its observer (PS3.16 CID 7000, TID 1204, TID 1004)
DIAGNOSTIC_IMAGING_REPORT: Final = Code("18748-4", "LN", "Diagnostic Imaging Report")
LANGUAGE: Final = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH: Final = Code("en", "RFC5646", "English")
OBSERVER_TYPE: Final = Code("121005", "DCM", "Observer Type")
DEVICE: Final = Code("121007", "DCM", "Device")
DEVICE_UID: Final = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME: Final = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER: Final = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL: Final = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL_NUMBER: Final = Code("121016", "DCM", "Device Observer Serial Number")
PROCEDURE_REPORTED: Final = Code("121058", "DCM", "Procedure reported")
COMPUTED_TOMOGRAPHY: Final = Code("77477000", "SCT", "Computed tomography")
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")

# Key object selection (PS3.16 TID 2010, CID 7010; PS3.3 C.17.3 for the name of a reference without a purpose)
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")
SOURCE: Final = Code("260753009", "SCT", "Source")

# Headings and statements
SUMMARY: Final = Code("121111", "DCM", "Summary")
CONCLUSION: Final = Code("121077", "DCM", "Conclusion")
COMMENT: Final = Code("121106", "DCM", "Comment")
FINDINGS: Final = Code("121070", "DCM", "Findings")
FINDING: Final = Code("121071", "DCM", "Finding")
SERIES: Final = Code("113015", "DCM", "Series")
SERIES_INSTANCE_UID: Final = Code("112002", "DCM", "Series Instance UID")
METHOD_CITATION: Final = Code("121423", "DCM", "Method Citation")
ALGORITHM_NAME: Final = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Final = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS: Final = Code("111002", "DCM", "Algorithm Parameters")

# How the analysis ended (PS3.16 CID 6047, and the plain words)
OVERALL_ASSESSMENT: Final = Code("111413", "DCM", "Overall Assessment")
POSITIVE: Final = Code("10828004", "SCT", "Positive")
NEGATIVE: Final = Code("260385009", "SCT", "Negative")
NOT_PERFORMED: Final = Code("262008008", "SCT", "Not performed")
PROCESSING_SUMMARY: Final = Code("111017", "DCM", "CAD Processing and Findings Summary")
SUCCEEDED_WITH_FINDINGS: Final = Code("111242", "DCM", "All algorithms succeeded; with findings")
SUCCEEDED_WITHOUT_FINDINGS: Final = Code("111241", "DCM", "All algorithms succeeded; without findings")
NONE_SUCCEEDED: Final = Code("111245", "DCM", "No algorithms succeeded; without findings")

# Measurements
SEVERITY: Final = Code("246112005", "SCT", "Severity")
VOLUME: Final = Code("118565006", "SCT", "Volume")
LATERALITY: Final = Code("272741003", "SCT", "Laterality")
FINDING_SITE: Final = Code("363698007", "SCT", "Finding Site")
MEAN_ATTENUATION: Final = Code("112181", "DCM", "Mean Attenuation Coefficient")
LESION_IDENTIFIER: Final = Code("121151", "DCM", "Lesion Identifier")
PERCENT: Final = Code("%", "UCUM", "Percent")
MILLILITRE: Final = Code("ml", "UCUM", "milliliter")
HOUNSFIELD: Final = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
POINTS: Final = Code("{points}", "UCUM", "points")

# Measurements as viewers draw them (PS3.16 TID 1500, TID 1410, TID 300, TID 320)
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_MEASUREMENTS: Final = Code("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP: Final = Code("125007", "DCM", "Measurement Group")
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
TRACKING_IDENTIFIER: Final = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID: Final = Code("112040", "DCM", "Tracking Unique Identifier")
IMAGE_REGION: Final = Code("111030", "DCM", "Image Region")
GEOMETRIC_PURPOSE: Final = Code("130400", "DCM", "Geometric purpose of region")
BOUNDED_BY: Final = Code("75958009", "SCT", "Bounded by")
"""The finding lies within the rectangle; the rectangle is not its outline."""
SOURCE_OF_MEASUREMENT: Final = Code("121112", "DCM", "Source of Measurement")
ALGORITHM_MANUFACTURER: Final = Code("122405", "DCM", "Algorithm Manufacturer")
CERTAINTY_OF_FINDING: Final = Code("111012", "DCM", "Certainty of Finding")
"""Score of one box: what a device says of one finding, from 0 to 100 %."""
WIDTH: Final = Code("103355008", "SCT", "Width")
HEIGHT: Final = Code("121207", "DCM", "Height")
DEPTH: Final = Code("131197000", "SCT", "Depth")
AREA: Final = Code("42798000", "SCT", "Area")
MILLIMETRE: Final = Code("mm", "UCUM", "mm")
SQUARE_MILLIMETRE: Final = Code("mm2", "UCUM", "square millimeter")

# Pulmonary embolism (PS3.16 CID 6102, CID 7151, CID 240; TID 3708 for a probability beside a coded finding)
PULMONARY_EMBOLISM: Final = Code("59282003", "SCT", "Pulmonary embolism")
EMBOLUS: Final = Code("55584005", "SCT", "Embolus")
PULMONARY_ARTERY: Final = Code("81040000", "SCT", "Pulmonary artery")
PRESENT: Final = Code("52101004", "SCT", "Present")
ABSENT: Final = Code("272519000", "SCT", "Absent")
UNDETERMINED: Final = Code("373068000", "SCT", "Undetermined")
PROBABILITY: Final = Code("122157", "DCM", "Probability")

CITATIONS: Final[Mapping[Code, str]] = MappingProxyType(
    {
        ENGLISH: "RFC 5646 (BCP 47) section 2.2.1, primary language subtag; PS3.16 CID 5000",
        MILLILITRE: "UCUM, litre (l) with the prefix milli (m); PS3.16 section 7.2.2",
        QUALITATIVE_EVALUATIONS: "UMLS concept C0034375; PS3.16 TID 1500, heading of evaluations without a number",
        POINTS: "UCUM, annotation in curly braces: a number without dimension; PS3.16 section 7.2.2",
    }
)
"""Where a standard code is defined that pydicom's dictionaries do not list: by grammar, not by a table."""

# What no standard scheme says
TOTAL_INVOLVEMENT: Final = Code("INVOLVEMENT", PRIVATE_SCHEME, "Involved share of lung volume, both lungs")
RIGHT_INVOLVEMENT: Final = Code("INVOLVEMENT-R", PRIVATE_SCHEME, "Involved share of lung volume, right lung")
LEFT_INVOLVEMENT: Final = Code("INVOLVEMENT-L", PRIVATE_SCHEME, "Involved share of lung volume, left lung")
INFECTED_VOLUME: Final = Code("INFECTED-VOLUME", PRIVATE_SCHEME, "Volume of infected region")
SIX_ZONE_SCORE: Final = Code("SIX-ZONE", PRIVATE_SCHEME, "Six-zone CT score")
FIVE_LOBE_SCORE: Final = Code("FIVE-LOBE", PRIVATE_SCHEME, "CT severity score of five lobes")
MODELS: Final = Code("MODELS", PRIVATE_SCHEME, "Models")
MODEL: Final = Code("MODEL", PRIVATE_SCHEME, "Model")
TRAINED_ON: Final = Code("TRAINED-ON", PRIVATE_SCHEME, "Trained on")
LICENCE: Final = Code("LICENCE", PRIVATE_SCHEME, "Licence of the model")
SOFTWARE_VERSION: Final = Code("SOFTWARE", PRIVATE_SCHEME, "Software version")
SERIES_DECISIONS: Final = Code("DECISIONS", PRIVATE_SCHEME, "Series of the study")

PRIVATE_DEFINITIONS: Final[Mapping[Code, str]] = MappingProxyType(
    {
        TOTAL_INVOLVEMENT: "NUM, %: infected region within both lungs, divided by the volume of both lungs",
        RIGHT_INVOLVEMENT: "NUM, %: infected region within the right lung, divided by the volume of the right lung",
        LEFT_INVOLVEMENT: "NUM, %: infected region within the left lung, divided by the volume of the left lung",
        INFECTED_VOLUME: "NUM, ml: ground-glass opacity and consolidation within the lungs, together",
        SIX_ZONE_SCORE: "NUM, points: sum of the scores of three zones a lung; the item of the method names the scale",
        FIVE_LOBE_SCORE: "NUM, points: sum of the scores of five lobes; the item of the method names the scale",
        MODELS: "CONTAINER: the neural networks that took part",
        MODEL: "CONTAINER: one neural network; its content names it, its version, its weights and its licence",
        TRAINED_ON: "TEXT: the data that a model learned from",
        LICENCE: "TEXT: the terms that a model's weights may be used under",
        SOFTWARE_VERSION: "TEXT: name and version of the software that made the document",
        SERIES_DECISIONS: "CONTAINER: every series of the study, with the reason why it was analysed or not",
    }
)
"""What each concept of the private scheme means, with its value type and unit; ``zone_score`` makes the others."""
ZONE_SCORE_DEFINITION: Final = "NUM, points: score of one zone of a lung, a part of the six-zone score"


def zone_score(zone: str) -> Code:
    """The concept of one zone's score, e.g. of "right upper"."""
    return Code("ZONE-" + zone.upper().replace(" ", "-")[:11], PRIVATE_SCHEME, f"Score of {zone} zone")
