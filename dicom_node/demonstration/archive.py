"""A little archive for the demonstration: our own Storage SCP in front of a folder. No system package, no database."""

import threading
from datetime import datetime
from pathlib import Path

from dicom_node.association import Intake, StorageScp
from dicom_node.records import StoredInstance
from dicom_node.settings import ScpSettings
from dicom_node.spool import FileSpool


class Archive:
    """A context manager: takes everything that is sent to it from this machine while the block runs."""

    def __init__(self, folder: Path, *, ae_title: str) -> None:
        self._held = _Held()
        settings = ScpSettings(ae_title=ae_title, bind="127.0.0.1", port=0)
        self._scp = StorageScp(settings, Intake(FileSpool(folder), self._held))

    def __enter__(self) -> "Archive":
        self._scp.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scp.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._scp.port

    def received(self) -> tuple[StoredInstance, ...]:
        """What it has, in the order of arrival."""
        return self._held.all()


class _Held:
    """The index of an archive that lives as long as its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances: dict[str, StoredInstance] = {}

    def find_instance(self, sop_instance_uid: str) -> StoredInstance | None:
        return self._instances.get(sop_instance_uid)

    def add_instance(self, instance: StoredInstance, *, received_at: datetime, calling_ae: str) -> str:
        with self._lock:
            return self._instances.setdefault(instance.facts.sop_instance_uid, instance).sha256

    def all(self) -> tuple[StoredInstance, ...]:
        with self._lock:
            return tuple(self._instances.values())
