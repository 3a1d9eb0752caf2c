"""Peers that refuse: dcmtk's storescp with a configuration that names the only SOP classes it takes."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.demonstration.orthanc import free_port

AE_TITLE = "REFUSING"
PROFILE = "Chosen"
START_TIMEOUT_S = 20.0


def association_configuration(path: Path, *sop_classes: str) -> Path:
    """Write a configuration whose profile ``Chosen`` takes these SOP classes, by dcmtk's names, and C-ECHO."""
    contexts = "\n".join(
        f"PresentationContext{number} = {name}\\Uncompressed"
        for number, name in enumerate(("VerificationSOPClass", *sop_classes), start=1)
    )
    path.write_text(
        "[[TransferSyntaxes]]\n[Uncompressed]\n"
        "TransferSyntax1 = LittleEndianExplicit\nTransferSyntax2 = LittleEndianImplicit\n"
        f"[[PresentationContexts]]\n[These]\n{contexts}\n"
        f"[[Profiles]]\n[{PROFILE}]\nPresentationContexts = These\n"
    )
    return path


@contextmanager
def refusing_peer(folder: Path, *sop_classes: str, options: tuple[str, ...] = ()) -> Iterator[int]:
    """A storescp that takes these SOP classes only and writes into ``folder``; yields its port."""
    folder.mkdir()
    configuration = association_configuration(folder.with_suffix(".cfg"), *sop_classes)
    port = free_port()
    command = ["storescp", "-aet", AE_TITLE, "-od", str(folder), "-xf", str(configuration), PROFILE, *options]
    process = subprocess.Popen([*command, str(port)])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline
        yield port
    finally:
        process.kill()
        process.wait()
