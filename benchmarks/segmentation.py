"""What writing a segmentation costs, beside highdicom given the same masks.

300 slices of 512² with both lungs and the infected region, from masks in memory to the Part 10 file on disk. Each way
runs in a process of its own, in turns; memory is what the process grew by beyond images and masks.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from benchmarks.result import Result
from dicom_node.demonstration.phantom_study import write_phantom_study

GOAL = 0.5
SIZE_PX = 512

COMMON = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from dicom_node.spool.folder import studies_in
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
def resident_kb(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

masks = np.load(folder / "masks.npy")
(((series,),)) = studies_in(folder / "study", scratch=folder).studies.values()
"""
OURS = """
from datetime import UTC, datetime
from dicom_node.results import ResultRequest
from dicom_node.results.part10 import write_part10
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.study_header import read_study_header
from dicom_node.volumes import build_volume
from inference.findings import Findings, Mask, ModelIdentity, Region, Status
volume = build_volume(series)
model = ModelIdentity(name="unet", version="1", digest="0" * 64, trained_on="phantoms", licence="none")
request = ResultRequest(
    study_uid=series.study_uid, series=(series,), decisions=(), volume=volume.volume, sources=volume.sources,
    findings=Findings(
        pipeline="lung_lesions", status=Status.POSITIVE, reason="", models=(model,),
        masks=tuple(Mask(region=one, array_zyx=mask, model=model) for one, mask in zip(Region, masks, strict=True)),
    ),
    chosen_series_uid=series.series_uid, created_at=datetime(2026, 1, 1, tzinfo=UTC), settings_digest="",
    software_version="0",
)
header = read_study_header(request)
write = lambda: write_part10(build_segmentation(request, header), out)
"""
HIGHDICOM = """
import highdicom as hd, pydicom
from pydicom.sr.codedict import codes
from dicom_node.volumes import build_volume
by_uid = {one.facts.sop_instance_uid: one.file.path for one in series.instances}
images = [pydicom.dcmread(by_uid[one.sop_instance_uid]) for one in build_volume(series).sources]
algorithm = hd.AlgorithmIdentificationSequence("unet", codes.cid7162.ArtificialIntelligence, "1")
segments = [
    hd.seg.SegmentDescription(number, name, codes.SCT.AnatomicalStructure, codes.SCT.Lung,
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm)
    for number, name in enumerate(("left", "right", "infected"), start=1)
]
def write():
    hd.seg.Segmentation(
        source_images=images, pixel_array=np.moveaxis(masks, 0, -1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, segment_descriptions=segments,
        series_instance_uid=hd.UID(), series_number=1, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="x", manufacturer_model_name="x", software_versions="0", device_serial_number="0",
        omit_empty_frames=True,
    ).save_as(out)
"""
MEASURE = """
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = resident_kb("VmHWM")
started = time.perf_counter()
write()
seconds = time.perf_counter() - started
print(json.dumps({"s": seconds, "mb": (resident_kb("VmHWM") - before) / 1024}))
"""


def measure(*, repeats: int, slices: int) -> Result:
    """Median of the ratios of ``repeats`` pairs of runs."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        phantom = write_phantom_study(
            folder / "study", kind="ct", slices=slices, size_px=SIZE_PX, seed=1, truth_folder=folder / "truth"
        ).phantom
        np.save(folder / "masks.npy", np.stack([phantom.left_lung, phantom.right_lung, phantom.infected]))
        for number in range(repeats):
            ours.append(_run(OURS, folder))
            theirs.append(_run(HIGHDICOM, folder))
            click.echo(f"  run {number + 1}: ours {ours[-1]['s']:.2f} s, highdicom alone {theirs[-1]['s']:.2f} s")
    ratio = statistics.median(one["s"] / other["s"] for one, other in zip(ours, theirs, strict=True))
    said = [
        f"{name} {statistics.median(run['s'] for run in runs):.2f} s and {max(run['mb'] for run in runs):.0f} MB"
        for name, runs in (("ours", ours), ("highdicom alone", theirs))
    ]
    return Result(
        name="writing a SEG of three segments / the same by highdicom alone",
        ratio=ratio,
        goal=GOAL,
        detail=f"{slices} slices of {SIZE_PX}²: {', '.join(said)}",
    )


def _run(way: str, folder: Path) -> dict[str, float]:
    program = [sys.executable, "-c", COMMON + way + MEASURE, str(folder), str(folder / "out.dcm")]
    output = subprocess.run(program, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return figures
