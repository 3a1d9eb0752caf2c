"""Every object of every kind of study, beside its sources, before the tools that others check DICOM with.

dciodvfy looks at one object, dcentvfy at a study: patient, study, series and frame of reference have to be the same in
all objects that share them. dsrdump and highdicom stand for the readers of structured reports and segmentations.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID
from result_requests import with_embolism
from test_real_results import named, not_analysed, stored
from test_results import EMBOLISM, STUDIES, dciodvfy_errors

from dicom_node.records import ResultKind, ResultObject, StoredInstance
from dicom_node.results import ResultRequest, write_results
from dicom_node.results.provenance import UNICODE

MakeRequest = Callable[..., ResultRequest]
STRUCTURED_REPORTS = {ResultKind.REPORT, ResultKind.MEASUREMENTS}
ENCODERS = {
    "implicit": ("dcmconv", "+ti"),
    "big endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "RLE": ("dcmcrle",),
    "JPEG lossless": ("dcmcjpeg", "+e1"),
    "JPEG-LS lossless": ("dcmcjpls", "+el"),
}
"""Of dcmtk, by what the sources become."""

OWN_LIMITS = {
    b"W: Check for template constraints not yet supported",
    b"W: The VR checker does not support this Specific Character Set: ISO_IR 192",
}
"""What dsrdump says of itself."""


def dcentvfy_errors(paths: Sequence[Path]) -> list[str]:
    done = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.startswith("Error")]


def added_errors(sources: Sequence[Path], results: Sequence[ResultObject]) -> list[str]:
    """What dcentvfy has against the study with its results, and had not against the sources alone."""
    before = dcentvfy_errors(sources)
    return [line for line in dcentvfy_errors([*sources, *(item.path for item in results)]) if line not in before]


def read_by_others(item: ResultObject) -> None:
    """Fails where dsrdump or highdicom does not read the object, or reads nothing in it."""
    if item.kind in STRUCTURED_REPORTS or item.kind is ResultKind.KEY_OBJECTS:
        dumped = subprocess.run(["dsrdump", str(item.path)], capture_output=True, check=False)
        complaints = [line for line in dumped.stderr.splitlines() if line not in OWN_LIMITS]
        assert (dumped.returncode, complaints) == (0, [])
        assert dumped.stdout.count(b"<contains") >= 2
    if item.kind is ResultKind.SEGMENTATION:
        segmentation = highdicom.seg.segread(item.path)
        assert segmentation.get_volume(atol=0.15).array.any(axis=(0, 1, 2)).all()
    elif item.kind in STRUCTURED_REPORTS:
        assert len(highdicom.sr.srread(item.path).content) == 1
    elif item.kind is ResultKind.KEY_OBJECTS:
        read = highdicom.ko.KeyObjectSelectionDocument.from_dataset(dcmread(item.path))
        assert read.content.get_references()
    elif item.kind is ResultKind.SUMMARY:
        assert np.ptp(highdicom.imread(item.path).get_frame(1)) > 0


def in_unicode(path: Path, folder: Path) -> Path:
    """A copy in UTF-8: dcentvfy compares bytes, and cannot know that two character sets say the same name."""
    data_set = dcmread(path)
    data_set.decode()
    data_set.SpecificCharacterSet = UNICODE
    folder.mkdir(exist_ok=True)
    data_set.save_as(folder / path.name)
    return folder / path.name


def encoded(request: ResultRequest, folder: Path, command: tuple[str, ...]) -> ResultRequest:
    """The same study with its source files in another transfer syntax."""
    folder.mkdir()
    program, *options = command
    copies = {}
    for instance in request.instances:
        target = folder / instance.file.path.name
        subprocess.run([program, *options, str(instance.file.path), str(target)], check=True, capture_output=True)
        copies[instance.file] = stored(target)
    (series,) = request.series
    return replace(
        request,
        series=(replace(series, instances=tuple(copies[instance.file] for instance in series.instances)),),
        sources=tuple(replace(source, file=copies[source.file].file) for source in request.sources),
    )


def studies(instances: Sequence[StoredInstance]) -> list[tuple[StoredInstance, ...]]:
    """By study; files that repeat an instance (one picture in 15 transfer syntaxes) each in a study of their own."""
    groups: dict[tuple[str, int], dict[str, StoredInstance]] = {}
    for instance in instances:
        facts = instance.facts
        turn = next(n for n in count() if facts.sop_instance_uid not in groups.get((facts.study_uid, n), {}))
        groups.setdefault((facts.study_uid, turn), {})[facts.sop_instance_uid] = instance
    return [tuple(held.values()) for held in groups.values()]


@pytest.mark.parametrize("study", STUDIES)
def test_results_agree_with_their_study_and_others_read_them(
    make_request: MakeRequest, tmp_path: Path, study: str
) -> None:
    request = make_request(**STUDIES[study])
    if study in EMBOLISM:
        request = with_embolism(request, EMBOLISM[study])

    written = write_results(request, tmp_path / "out")

    sources = [instance.file.path for instance in request.instances]
    if isinstance(STUDIES[study].get("SpecificCharacterSet"), list):
        sources = [in_unicode(path, tmp_path / "unicode") for path in sources]
    assert dcentvfy_errors([*sources, *(item.path for item in written)]) == []
    for item in written:
        read_by_others(item)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_results_of_every_transfer_syntax_agree_with_their_study(
    make_request: MakeRequest, tmp_path: Path, syntax: str
) -> None:
    plain = with_embolism(make_request(), lesions=True)
    request = encoded(plain, tmp_path / "encoded", ENCODERS[syntax])
    assert {facts.transfer_syntax_uid for facts in request.source_facts} != {
        facts.transfer_syntax_uid for facts in plain.source_facts
    }

    written = write_results(request, tmp_path / "out")

    assert [item.kind for item in written] == list(ResultKind)
    # dicom3tools inflate nothing; the attributes of the plain sources are the same.
    sources = (plain if syntax == "deflated" else request).instances
    assert dcentvfy_errors([*(instance.file.path for instance in sources), *(item.path for item in written)]) == []
    for item in written:
        assert dciodvfy_errors(item.path) == []
        read_by_others(item)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "pattern",
    [
        "dicom_odd_geometry/*/*.dcm",
        "dicom_broken/truncated_j2k/*.dcm",
        "dicom_transfer_syntaxes/*.dcm",
        "seg_sr_references/*/*.dcm",
    ],
)
def test_reports_of_odd_studies_agree_with_them(shared_data: Path, tmp_path: Path, pattern: str) -> None:
    instances = [stored(path) for path in sorted(shared_data.glob(pattern))]
    assert instances
    for number, held in enumerate(studies(instances)):
        written = write_results(not_analysed(held, "a reason"), tmp_path / str(number))

        assert added_errors([instance.file.path for instance in held], written) == []
        for item in written:
            assert dciodvfy_errors(item.path) == []
            read_by_others(item)


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["P002_covid", "normal002_contiguous_part"])
def test_reports_of_real_patients_agree_with_their_study(shared_data: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "study").mkdir()
    paths = sorted((shared_data / "covid_ct_md" / folder).glob("*.dcm"))[40:52]
    instances = tuple(named(path, tmp_path / "study") for path in paths)
    assert {UID(instance.facts.transfer_syntax_uid).is_compressed for instance in instances} == {True}

    written = write_results(not_analysed(instances, "a reason"), tmp_path / "out")

    assert added_errors([instance.file.path for instance in instances], written) == []
    for item in written:
        read_by_others(item)
