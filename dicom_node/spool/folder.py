"""A folder of DICOM files read as if they had been received: for ``infer``, which has no network.

Any folder, any depth, any file names. What is no DICOM instance is told, not silently left out.
"""

from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import InstanceRefused
from dicom_node.headers import read_instance_facts
from dicom_node.records import InstanceFacts, Part10File, Series, StoredInstance
from dicom_node.spool.restoration import restore_uids


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContents:
    """The studies of a folder by Study Instance UID, and what was left out with the reason."""

    studies: dict[str, tuple[Series, ...]]
    skipped: tuple[str, ...]


def studies_in(folder: Path, *, scratch: Path) -> FolderContents:
    """Read the headers of every file below ``folder``. The first of several files with one SOP Instance UID counts.

    Files without valid UIDs are read from copies with derived ones in ``scratch``, which the caller removes.
    """
    found: dict[str, dict[str, list[StoredInstance]]] = {}
    seen: set[str] = set()
    skipped: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            facts, source = _facts(path, scratch)
        except InstanceRefused as refusal:
            skipped.append(f"{path.name}: {refusal}")
            continue
        if facts.sop_instance_uid in seen:
            skipped.append(f"{path.name}: another file holds the same SOP Instance UID")
            continue
        seen.add(facts.sop_instance_uid)
        instance = StoredInstance(
            facts=facts,
            file=Part10File(source),
            digest="",
            size_bytes=source.stat().st_size,
        )
        found.setdefault(facts.study_uid, {}).setdefault(facts.series_uid, []).append(instance)
    studies = {
        study_uid: tuple(
            Series(study_uid=study_uid, series_uid=series_uid, instances=tuple(members))
            for series_uid, members in sorted(by_series.items())
        )
        for study_uid, by_series in sorted(found.items())
    }
    return FolderContents(studies=studies, skipped=tuple(skipped))


def _facts(path: Path, scratch: Path) -> tuple[InstanceFacts, Path]:
    """The facts of a file, and the file to read it from."""
    try:
        return read_instance_facts(Part10File(path)), path
    except InstanceRefused:
        copy = restore_uids(path, scratch)
        if copy is None:
            raise
        return read_instance_facts(Part10File(copy)), copy
