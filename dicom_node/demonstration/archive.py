"""A little archive for the demonstration: our own Storage SCP in front of a folder. No system package, no database."""

import threading
from collections.abc import Sequence
from pathlib import Path

from dicom_node.association import Intake, StorageScp
from dicom_node.index import Arrival
from dicom_node.records import StoredInstance
from dicom_node.settings import ScpSettings
from dicom_node.spool import FileSpool


class Archive:
    """A context manager: takes everything that is sent to it from this machine while the block runs."""

    def __init__(self, folder: Path, *, ae_title: str) -> None:
        self._held = _Held()
        settings = ScpSettings(ae_title=ae_title, bind="127.0.0.1", port=0)
        self._intake = Intake(FileSpool(folder), self._held)
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
        """What it has, in the order of arrival."""
        self._intake.flush()
        return self._held.all()


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

    def all(self) -> tuple[StoredInstance, ...]:
        with self._lock:
            return tuple(self._instances.values())
