"""A little archive for the demonstration: our own Storage SCP in front of a folder. No system package, no database."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dicom_node.association import Intake, StorageScp
from dicom_node.index import Arrival
from dicom_node.records import Part10File, Stored, StoredInstance
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
from dicom_node.spool.extraction import extract


class Archive:
    """A context manager: takes everything that is sent to it from this machine while the block runs."""

    def __init__(self, folder: Path, *, ae_title: str) -> None:
        self._folder = folder
        self._held = _Held()
        settings = ScpSettings(ae_title=ae_title, bind="127.0.0.1", port=0)
        self._intake = Intake(SegmentSpool(folder / "spool"), self._held)
        self._scp = StorageScp(settings, self._intake)

    def __enter__(self) -> "Archive":
        self._scp.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scp.stop()
        self._intake.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._scp.port

    def received(self) -> tuple[StoredInstance, ...]:
        """What it has, in the order of arrival, each in a file of its own in the folder."""
        self._intake.flush()
        return tuple(self._extracted(instance) for instance in self._held.all())

    def _extracted(self, instance: StoredInstance) -> StoredInstance:
        target = self._folder / f"{instance.facts.sop_instance_uid}.dcm"
        if not target.exists():
            extract(instance.file, target)
        return replace(instance, file=Part10File(target))


class _Held:
    """The index of an archive that lives as long as its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances: dict[str, StoredInstance] = {}

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        with self._lock:
            for arrival in arrivals:
                self._instances.setdefault(arrival.instance.facts.sop_instance_uid, arrival.instance)
        return ()

    def held(self, sop_instance_uid: str) -> Stored | None:
        with self._lock:
            found = self._instances.get(sop_instance_uid)
        return None if found is None else Stored(file=found.file, digest=found.digest, size_bytes=found.size_bytes)

    def all(self) -> tuple[StoredInstance, ...]:
        with self._lock:
            return tuple(self._instances.values())
