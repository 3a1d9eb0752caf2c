"""The sections on what the node makes: objects, their attributes and UIDs, and character sets."""

from pydicom.charset import python_encoding
from pydicom.sr.coding import Code

from dicom_node.commands.statement.markdown import bullets, section, subsection, table, uid_name
from dicom_node.results import BUILDERS, codes, provenance
from dicom_node.results.key_objects import EMBOLUS_SLICES, REGION_SLICES
from dicom_node.results.measurements import RECTANGLE
from dicom_node.results.part10 import TRANSFER_SYNTAX
from dicom_node.results.regions import REGIONS
from dicom_node.results.report import MAXIMUM_EMBOLI, MAXIMUM_LESIONS
from dicom_node.uids import ROOT


def character_sets() -> str:
    """What is read, and what is written."""
    single = ", ".join(term for term in python_encoding if term and " 2022 " not in term)
    extended = ", ".join(term for term in python_encoding if " 2022 " in term)
    return section(
        "Support of character sets",
        bullets(
            f"Read, as Specific Character Set (0008,0005): {single}, and none.",
            f"Read, with code extensions: {extended}.",
            "Written: the character set of the source images where it is a single one that holds every text of the "
            "result; otherwise none where all texts are ASCII, as the node's own are, else "
            f"{provenance.UNICODE} (UTF-8).",
        ),
    )


def created_objects() -> str:
    """Attributes and content of the objects that the node makes."""
    objects = (_segmentation(), _report(), _summary(), _key_objects(), _measurements())
    return section("Created objects", _common(), *objects)


def _common() -> str:
    rows = [
        [
            uid_name(builder.sop_class_uid),
            str(provenance.SERIES_NUMBERS[builder.kind]),
            provenance.SERIES_DESCRIPTIONS[builder.kind],
        ]
        for builder in BUILDERS
    ]
    return subsection(
        "All of them",
        bullets(
            "Belong to the study that was analysed, in a series of their own, one instance a series.",
            "Patient and study attributes come from one received instance; a value that is missing or invalid there is "
            "left empty.",
            f"Manufacturer `{provenance.MANUFACTURER}`, Manufacturer's Model Name `{provenance.MODEL_NAME}`, Software "
            "Versions, and in Device Serial Number the settings' digest, so that set-ups can be told apart.",
            f"Encoded as {uid_name(TRANSFER_SYNTAX)}; Standard SOP Classes, without private attributes.",
            "No SOP class is extended or specialised. No attribute of a received instance is changed.",
        ),
        table(["object", "Series Number", "Series Description"], rows),
    )


def _segmentation() -> str:
    rows = [
        [
            region.label,
            _said(region.category),
            f"{_said(region.type)}, {region.type_modifier.meaning} ({region.type_modifier.value})",
            _said(region.anatomic_region) + ("" if region.laterality is None else f", {region.laterality.meaning}"),
        ]
        for region in REGIONS
    ]
    return subsection(
        "Segmentation (PS3.3 A.51)",
        bullets(
            "Segmentation Type BINARY, on the grid and in the Frame of Reference of the source series (a UID of the "
            "node's own where the source has none); frames without voxels are left out, and "
            "segments without frames. No object where every segment is empty.",
            "Each frame names its source frame (Derivation Image Sequence) and the series its source instances "
            "(Referenced Series Sequence).",
            f"Segment Algorithm Type AUTOMATIC, algorithm family {_said(codes.ARTIFICIAL_INTELLIGENCE)}, with name, "
            "version and digest of the model.",
        ),
        table(["segment", "category", "type, modifier", "anatomic region"], rows),
    )


def _report() -> str:
    root = codes.DIAGNOSTIC_IMAGING_REPORT
    headings = (codes.SUMMARY, codes.SEVERITY, codes.FINDINGS, codes.MODELS, codes.SERIES_DECISIONS)
    return subsection(
        "Structured report (PS3.3 A.35.3)",
        bullets(
            f"Document title {_said(root)}, of PS3.16 CID 7000. The document follows no root template: Content "
            "Template Sequence is absent, and it is not TID 1500.",
            "It includes the content of TID 1204 (language), of TID 1004 (device observer) and of the procedure "
            "reported, after the sections: people read those first.",
            "Completion Flag COMPLETE, Verification Flag UNVERIFIED, Preliminary Flag PRELIMINARY.",
            "Evidence: every instance that was received of the study.",
            "Written for every study, also for one that was not analysed, with the reason.",
            f"At most {MAXIMUM_LESIONS} lesions one by one, the largest first; the rest as their number and volume. At "
            f"most {MAXIMUM_EMBOLI} emboli, the most probable first.",
        ),
        table(["section", "code", "scheme"], [[one.meaning, one.value, one.scheme_designator] for one in headings]),
    )


def _summary() -> str:
    return subsection(
        "Secondary capture (PS3.3 A.8.1)",
        bullets(
            "RGB, 8 bits, one frame: key slices with contours, and the result in words. Burned In Annotation NO: no "
            "text of the source images stands on it.",
            "Source Image Sequence names the slices on the page.",
            "Lossy Image Compression says 01 here and in the segmentation where the source says so.",
        ),
    )


def _key_objects() -> str:
    return subsection(
        "Key object selection (PS3.3 A.35.4, PS3.16 TID 2010)",
        bullets(
            f"Document title {_said(codes.OF_INTEREST)}, of PS3.16 CID 7010; TID 1204 (language), TID 1004 (device "
            f"observer), {_said(codes.KEY_OBJECT_DESCRIPTION)} with the reason of the choice, then the images from "
            "head to feet.",
            "References images of the analysed series; of a multi-frame image each frame by itself, by Referenced "
            "Frame Number.",
            f"At most {REGION_SLICES} slices for the infected region, those of the picture, and at most "
            f"{EMBOLUS_SLICES} for emboli, one an embolus.",
            "Written for positive studies only.",
        ),
    )


def _measurements() -> str:
    return subsection(
        "Measurement report (PS3.3 A.35.3, PS3.16 TID 1500)",
        bullets(
            f"Document title {_said(codes.IMAGING_MEASUREMENT_REPORT)}. Written where there are boxes, and only then.",
            "One TID 1410 group a box of an embolus: a closed SCOORD POLYLINE of five points, selected from its image "
            "(of a multi-frame image with Referenced Frame Number), counted from the outer corner of the first pixel; "
            f"{_said(codes.GEOMETRIC_PURPOSE)} is {_said(codes.BOUNDED_BY)}.",
            f"Every group has a Tracking Unique Identifier of its own, and `{RECTANGLE}:` before the name in its "
            f"Tracking Identifier. {_said(codes.LESION_IDENTIFIER)}, which all groups of an embolus share, carries "
            "the embolus's own Tracking Unique Identifier, probability and extent.",
            "Every measurement (TID 300) carries its coordinates, INFERRED FROM.",
            f"{_said(codes.QUALITATIVE_EVALUATIONS)}: whether the condition is present in the study, with its "
            "probability.",
            "Algorithm identification (TID 4019): the pipeline, with its models as parameters.",
            "Completion Flag COMPLETE, Verification Flag UNVERIFIED, Preliminary Flag PRELIMINARY. Evidence: the "
            "images with boxes. There is no image library.",
        ),
    )


def uids() -> str:
    """How UIDs come about."""
    return section(
        "UIDs",
        f"Every UID that the node makes is `{ROOT}` and a UUID as a decimal number (PS3.5 section B.2), derived by "
        "SHA-256 from what it names. For results that is: the instances of the study, the models with their "
        "digests, the settings. The same analysis of the same instances gives the same UIDs, so that a repeated run "
        "replaces nothing and doubles nothing; other instances, models or settings give others.",
    )


def _said(code: Code) -> str:
    return f'({code.value}, {code.scheme_designator}, "{code.meaning}")'
