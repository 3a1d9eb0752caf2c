"""A real CT angiogram as DICOM, for the training and the figures of the embolism models."""

import tempfile
from pathlib import Path

from dicom_node.commands.options import UsageFailure
from dicom_node.errors import NotAnalysable
from dicom_node.spool.folder import studies_in
from dicom_node.volumes import build_volume
from inference.volume import Volume


def angiogram_in(folder: Path) -> Volume:
    """The volume of the largest series below ``folder`` that makes one. Raises ``UsageFailure``."""
    reasons = []
    with tempfile.TemporaryDirectory(prefix="dicom-node-") as scratch:
        studies = studies_in(folder, scratch=Path(scratch)).studies
        series = sorted((each for study in studies.values() for each in study), key=lambda one: -len(one.instances))
        for one in series:
            try:
                return build_volume(one).volume
            except NotAnalysable as refusal:
                reasons.append(f"series {one.series_uid}: {refusal}")
    raise UsageFailure(f"{folder} holds no CT series that makes a volume{': ' if reasons else ''}{'; '.join(reasons)}")
