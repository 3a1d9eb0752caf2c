"""``make viewer``: a generated study with its results in OHIF, to look at in a browser.

Study → C-STORE → Orthanc and a real node; the node's results → C-STORE → Orthanc; Orthanc → DICOMweb → OHIF. Runs
until it is interrupted.
"""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from dicom_node.delivery import Address, send_folder
from dicom_node.demonstration.node_process import Answer, NodeProcess
from dicom_node.demonstration.ohif import OhifViewer
from dicom_node.demonstration.orthanc import DICOMWEB_PLUGIN, OrthancServer
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from dicom_node.demonstration.pipeline_rules import rules_for
from dicom_node.errors import PeerUnavailable
from dicom_node.logs import configure_logging
from dicom_node.records import ResultKind

NODE_AE: Final = "DICOMNODE"
ORTHANC_AE: Final = "ORTHANC"
SETTLE_S: Final = 1.0
ANALYSIS_TIMEOUT_S: Final = 600.0
"""Generous: a laptop without AVX-512 takes ten times as long as a server."""
PORT: Final = 3000
"""The port that OHIF's own documentation uses."""
SEED: Final = 2026
DEFAULT_VIEWER: Final = Path(".viewer/ohif")
"""Where ``make`` puts the viewer."""
DEFAULT_OUT: Final = Path(".viewer/run")
"""Study, storage and logs of the last run; emptied at the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInViewer:
    """A study that lies in Orthanc with its results, and the viewer that shows it."""

    study: PhantomStudy
    overview: Answer
    """What the node says of it: findings, and results with their kind and series."""
    viewer: OhifViewer
    receiver: Address
    """Where Orthanc takes further objects."""

    def images_address(self) -> str:
        """The page that opens the CT images; there the segmentation is a double click away.

        No address opens the segmentation itself: OHIF 3.13.2 then often draws the segments of every slice over the
        image of the first one.
        """
        return self.viewer.address(self.study.study_uid, self.study.series_uid)

    def has(self, kind: ResultKind) -> bool:
        """Whether the node made such a result."""
        return any(one["kind"] == kind.value for one in self.overview["results"])

    def result_address(self, kind: ResultKind) -> str:
        """The page that opens the report, the picture or the boxes."""
        series_uid = next(one["series_uid"] for one in self.overview["results"] if one["kind"] == kind.value)
        return self.viewer.address(self.study.study_uid, series_uid)


@contextmanager
def study_in_viewer(
    folder: Path, *, viewer: Path, slices: int, size_px: int, seed: int, port: int = 0, kind: str = "ct"
) -> Iterator[StudyInViewer]:
    """Start Orthanc, a node and OHIF on loopback, and have a generated study analysed.

    ``folder`` takes what they write; ``viewer`` holds the built OHIF; ``kind``: ``ct`` or ``ctpa``. Raises
    ``PeerUnavailable`` where one of them is missing or does not start, or the study is not analysed.
    """
    study = write_phantom_study(
        folder / "study", kind=kind, slices=slices, size_px=size_px, seed=seed, truth_folder=folder / "truth"
    )
    plugins = {"Plugins": [DICOMWEB_PLUGIN]}
    with (
        OrthancServer(folder / "orthanc", settings=plugins) as orthanc,
        OhifViewer(folder / "nginx", viewer, orthanc_url=orthanc.http_url, port=port) as ohif,
        _node(folder / "node", orthanc, rules_for(kind, folder)) as node,
    ):
        receiver = Address(ORTHANC_AE, "127.0.0.1", orthanc.dicom_port)
        _send(study, receiver)
        _send(study, Address(NODE_AE, "127.0.0.1", node.dicom_port))
        overview = node.wait_until_settled(study.study_uid, timeout_s=ANALYSIS_TIMEOUT_S)
        if overview["state"] != "done":
            raise PeerUnavailable(f"the node gave the study up: {overview['reason']}; its log is {node.log}")
        yield StudyInViewer(study=study, overview=overview, viewer=ohif, receiver=receiver)


def _node(data_dir: Path, orthanc: OrthancServer, rules: list[str]) -> NodeProcess:
    destination = f"orthanc={ORTHANC_AE}@127.0.0.1:{orthanc.dicom_port}"
    flags = ["--ae-title", NODE_AE, "--settle", str(SETTLE_S), "--destination", destination, *rules]
    return NodeProcess(data_dir, flags)


def _send(study: PhantomStudy, receiver: Address) -> None:
    refused = [outcome for outcome in send_folder(study.folder, receiver) if not outcome.accepted]
    if refused:
        raise PeerUnavailable(f"{receiver} refused {len(refused)} instances: {refused[0].message}")


@click.command()
@click.option("--kind", type=click.Choice(["ct", "ctpa"]), default="ct", show_default=True)
@click.option("--viewer", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_VIEWER, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_OUT, show_default=True)
@click.option("--port", default=PORT, show_default=True, help="Where the browser comes, on this machine; 0: any.")
@click.option("--slices", default=100, show_default=True)
@click.option("--size", "size_px", default=512, show_default=True)
@click.option("--seed", default=SEED, show_default=True, help="Another seed is another patient.")
def show(kind: str, viewer: Path, out: Path, port: int, slices: int, size_px: int, seed: int) -> None:
    """Show a generated chest CT, or CT pulmonary angiogram, and what the node made of it in OHIF, until interrupted."""
    configure_logging("warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is ended in order
    if out.exists():
        shutil.rmtree(out)
    click.echo("a generated study goes to Orthanc and through a node (about half a minute) …")
    shown = study_in_viewer(out, viewer=viewer, slices=slices, size_px=size_px, seed=seed, port=port, kind=kind)
    try:
        with shown as study, suppress(KeyboardInterrupt):
            _say_where(study)
            threading.Event().wait()
    except PeerUnavailable as unavailable:
        raise click.ClickException(str(unavailable)) from unavailable


def _say_where(study: StudyInViewer) -> None:
    click.echo("\nResearch use only; not a medical device. Open in a browser on this machine:\n")
    opened = {"boxes": ResultKind.MEASUREMENTS, "report": ResultKind.REPORT, "picture": ResultKind.SUMMARY}
    for name, address in (
        ("images", study.images_address()),
        *((name, study.result_address(kind)) for name, kind in opened.items() if study.has(kind)),
        ("all studies", f"{study.viewer.url}/"),
    ):
        click.echo(f"  {name:<14}{address}")
    if study.has(ResultKind.SEGMENTATION):
        click.echo("\nA double click on the SEG series at the left draws the segments over the images.")
    click.echo("\nCtrl-C ends it.")


if __name__ == "__main__":
    show()
