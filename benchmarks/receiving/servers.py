"""The servers that are compared, each a process of its own on a fresh folder."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.raw_sender import RawAssociation
from dicom_node.demonstration.orthanc import OrthancServer, free_port
from dicom_node.errors import PeerUnavailable

STORESCP, PYNETDICOM = "dcmtk storescp", "pynetdicom storescp"
ORTHANC_SYNCED, ORTHANC = "Orthanc, synced", "Orthanc, unsynced"
DURABLE, UNSYNCED = "ours, durable", "ours, unsynced"
DISCARDING = "nothing is stored"
"""What senders and network alone allow: ``discarding_server``."""
SERVERS = (STORESCP, UNSYNCED, DURABLE, ORTHANC_SYNCED, ORTHANC, PYNETDICOM, DISCARDING)
ORTHANC_THREADS = 16
"""Of Orthanc, for associations: with its default of 4, more associations than that wait for each other."""
MOST_ASSOCIATIONS = {
    ORTHANC: ORTHANC_THREADS,  # stops accepting at some 26; with 64 threads it sometimes rejects one of 64
    ORTHANC_SYNCED: ORTHANC_THREADS,
    PYNETDICOM: 10,  # rejects the eleventh, and has no option for that
}
"""Of those that do not take 64."""
PEER_PDU_BYTES = 131072
"""What storescp takes at most."""
START_S = 20.0
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that answers."""

    port: int
    called_ae: str
    process: int


@contextmanager
def serving(name: str, *, maximum_pdu: int | None = None) -> Iterator[Server]:
    """A server whose folder is removed at the end; ``maximum_pdu`` in bytes, of ours alone."""
    with tempfile.TemporaryDirectory(prefix="receiving-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        if name in (ORTHANC, ORTHANC_SYNCED):
            settings = {"SyncStorageArea": name == ORTHANC_SYNCED, "DicomThreadsCount": ORTHANC_THREADS}
            with OrthancServer(folder, settings=settings) as orthanc:
                yield Server(port=orthanc.dicom_port, called_ae="ORTHANC", process=orthanc.process_id)
            return
        port = free_port()
        process = subprocess.Popen(
            [str(word) for word in _command(name, folder, port, maximum_pdu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
        )
        assert process.stdin is not None
        try:
            _wait_until_answering(port)
            yield Server(port=port, called_ae="DICOMNODE", process=process.pid)
        finally:
            process.stdin.close()
            process.terminate()
            process.wait()


def _command(name: str, folder: Path, port: int, maximum_pdu: int | None) -> list[object]:
    if name == STORESCP:
        storescp = shutil.which("storescp")
        assert storescp is not None, "sh deploy/install-test-packages.sh installs it"
        return [storescp, "-od", folder, "+B", "-pdu", PEER_PDU_BYTES, "--fork", port]
    if name == PYNETDICOM:
        return [sys.executable, "-m", "pynetdicom", "storescp", port, "-od", folder, "--max-pdu", PEER_PDU_BYTES]
    if name == DISCARDING:
        return [sys.executable, "-m", "benchmarks.receiving.discarding_server", port]
    command: list[object] = [sys.executable, "-m", "benchmarks.receiving.our_server", folder, port]
    if name == UNSYNCED:
        command.append("--unsynced")
    if maximum_pdu is not None:
        command += ["--maximum-pdu", maximum_pdu]
    return command


def _wait_until_answering(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError), RawAssociation(port) as association:
            # Where nobody listens yet, a connection may find itself: its own port is any that is free.
            if association.associate(called_ae="DICOMNODE") == 2:
                association.release()
                return
        time.sleep(0.05)
    raise PeerUnavailable(f"nobody answers on port {port}")
