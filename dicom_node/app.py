"""The composition root: the only place that picks implementations and joins the rooms to a node."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path

import structlog

from dicom_node.association import Intake, StorageScp
from dicom_node.association.auditing import AssociationAudit, FolderAudit
from dicom_node.association.folder_intake import FileOutcome, receive_folder
from dicom_node.association.recovery import index_unlisted
from dicom_node.audit import AuditFiles, AuditTrail, Sink, Syslog
from dicom_node.delivery import DimseDestination
from dicom_node.delivery.commitment_report import ReportPeer
from dicom_node.errors import SettingsError, StorageCorrupt
from dicom_node.flow.analysis import Analyst
from dicom_node.flow.commit import Committer
from dicom_node.flow.completeness import CompletenessWatch
from dicom_node.flow.deliver import Deliverer
from dicom_node.flow.durable import Durable, WorkQueue
from dicom_node.flow.process import Processor
from dicom_node.flow.reconcile import Reconciler
from dicom_node.flow.retry import retry_study
from dicom_node.flow.transfer_audit import TransferAudit
from dicom_node.index import CommitmentTable, Index, JobTable, Overview, open_database
from dicom_node.routing import load_rules
from dicom_node.settings import EngineSettings, NodeSettings, ScpSettings
from dicom_node.spool import SegmentSpool
from dicom_node.spool.extraction import extract
from dicom_node.spool.occupancy import Occupancy
from dicom_node.spool.salvage import is_intact
from dicom_node.tls import CertificateWatch, server_context
from dicom_node.web.api import create_api
from dicom_node.web.console import create_console
from dicom_node.web.metrics import create_metrics
from dicom_node.web.server import WebServer
from dicom_node.web.stow import StowDoor
from inference.engines.base import WELL, Engine, EngineError, run_canary
from inference.engines.fallback import FallbackEngine
from inference.engines.times import InferenceTimes
from inference.findings import ModelIdentity
from inference.models import EVERY_MODEL
from inference.pipelines import models_of

log = structlog.get_logger(__name__)

DATABASE = "node.sqlite"
SPOOL = "spool"
RESULTS = "results"
AUDIT = "audit"
BYTES_PER_MB = 1024 * 1024
WARM_UP_PAUSE_S = 5.0
"""Between tries of a model whose server is not there yet."""
WARM_UP_PATIENCE_S = 30.0
"""For one model that is being compiled when the node stops; it takes seconds."""


def software_version() -> str:
    """Version of the installed node."""
    return metadata.version("dicom-node")


def make_engine(settings: EngineSettings, times: InferenceTimes | None = None) -> Engine:
    """The engine that the settings name; it adds its times to ``times``. Raises ``EngineError`` where it cannot run."""
    # Imported on use, so that a process loads neither OpenVINO nor gRPC unless it infers with it.
    if settings.kind == "triton":
        engine = _triton_engine(settings, times)
        if settings.triton.fallback == "wait":
            return engine
        return FallbackEngine(engine, make_engine(settings.model_copy(update={"kind": "embedded"}), times))
    from inference.engines.embedded import EmbeddedEngine

    return EmbeddedEngine(repository=settings.repository, threads=settings.threads or None, times=times)


def _triton_engine(settings: EngineSettings, times: InferenceTimes | None) -> Engine:
    from inference.engines.triton import TritonEngine
    from inference.engines.triton_peer import Tls

    triton = settings.triton
    tls = None if triton.tls is None else Tls(ca=triton.tls.ca, certificate=triton.tls.certificate, key=triton.tls.key)
    return TritonEngine(
        repository=settings.repository,
        addresses=triton.addresses,
        call_timeout_s=triton.call_timeout_s,
        tls=tls,
        times=times,
    )


def make_analyst(
    settings: NodeSettings, *, pipeline: str | None = None, times: InferenceTimes | None = None
) -> Analyst:
    """What turns received series into findings. Raises ``SettingsError`` and ``EngineError``."""
    rules = load_rules(settings.routing_rules)
    if pipeline is not None and pipeline not in rules.pipelines:
        raise SettingsError(
            [f"no pipeline is called {pipeline!r}; the routing rules name {', '.join(rules.pipelines)}"]
        )
    return Analyst(
        rules=rules,
        engine=make_engine(settings.engine, times),
        software_version=software_version(),
        only_pipeline=pipeline,
    )


class Node:
    """A running node. The constructor opens and checks everything; ``start`` begins to serve.

    Raises ``SettingsError``, ``EngineError``, ``ResourceExhausted`` where something is missing or taken.
    """

    def __init__(self, settings: NodeSettings) -> None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = settings.data_dir.resolve()
        self._stopping = threading.Event()
        self._engine_warm = threading.Event()
        self._warming = threading.Thread(target=self._warm_up, name="warm-up", daemon=True)
        database = open_database(data_dir / DATABASE)
        self._index, jobs = Index(database), JobTable(database)
        self._spool, self._occupancy = _open_spool(settings)
        times = InferenceTimes()
        self._analyst = make_analyst(settings, times=times)
        intake = self._intake = Intake(self._spool, self._index)
        self._audit = _open_audit(settings, data_dir)
        self._durable = Durable(data_dir / DATABASE)
        self._committer = Committer(
            commitments=CommitmentTable(database),
            index=self._index,
            spool=self._spool,
            queue=self._durable,
            peers=_report_peers(settings.scp),
            flush=intake.flush,
        )
        tls = None if settings.scp.tls is None else server_context(settings.scp.tls)
        self._certificates = CertificateWatch(settings, tls)
        told = AssociationAudit(record=self._audit.record, ae_title=settings.scp.ae_title)
        self._scp = StorageScp(
            settings.scp,
            intake,
            tls=None if tls is None else self._certificates.newest,
            commitment=self._committer.accept if self._committer.peers else None,
            audit=told,
        )
        self._processor = Processor(
            index=self._index,
            jobs=jobs,
            durable=self._durable,
            analyst=self._analyst,
            engine_patience_s=settings.engine.triton.retry_for_hours * 3600,
            results_folder=data_dir / RESULTS,
            destinations={destination.name: destination.results for destination in settings.destinations},
            stopping=self._stopping,
        )
        self._deliverer = Deliverer(
            jobs=jobs,
            durable=self._durable,
            destinations={
                destination.name: (destination, DimseDestination(destination, calling_ae=settings.scp.ae_title))
                for destination in settings.destinations
            },
            audit=TransferAudit(record=self._audit.record, ae_title=settings.scp.ae_title),
        )
        self._watch = CompletenessWatch(
            index=self._index,
            durable=self._durable,
            settings=settings.completeness,
            open_series=self._scp.open_series,
        )
        self._reconciler = Reconciler(jobs=jobs, durable=self._durable, committer=self._committer)
        readiness = {"index": self._ask_index, "models": self._ask_models, "completeness": self._ask_watch}
        overview = Overview(database)
        api = create_api(overview=overview, readiness=readiness, version=software_version())
        api.include_router(
            create_console(overview=overview, readiness=readiness, models=self._models, version=software_version())
        )
        api.include_router(
            create_metrics(overview=overview, readiness=readiness, times=times, version=software_version())
        )
        doors = [] if settings.web.stow is None else [StowDoor(settings.web.stow, intake, audit=told)]
        for door in doors:
            api.include_router(door.router)
        self._web = WebServer(api, settings.web, doors=doors)

    @property
    def dicom_port(self) -> int:
        """Port of the Storage SCP."""
        return self._scp.port

    @property
    def web_port(self) -> int:
        """Port of the web interface."""
        return self._web.port

    def start(self) -> None:
        """Mend what a crash left, then serve: first the work in hand, last the door for new work."""
        with self._occupancy.alone() as alone:  # else "dicom-node receive" is writing, and a later start tidies up
            index_unlisted(self._spool, self._index, alone=alone)
        self._audit.start()
        self._durable.launch(
            process=self._processor.process, deliver=self._deliverer.deliver, report=self._committer.report
        )
        self._reconciler.start()
        self._scp.start()
        self._watch.start()
        self._web.start()
        self._certificates.start()
        log.info("node_started", version=software_version(), dicom_port=self.dicom_port, web_port=self.web_port)
        self._warming.start()

    def stop(self) -> None:
        """Refuse new work, then stop; what is unfinished goes on at the next start."""
        self._stopping.set()
        self._scp.stop()
        self._watch.stop()
        self._reconciler.stop()
        self._web.stop()
        self._certificates.stop()
        self._intake.close()
        self._analyst.decoders.close()
        self._durable.stop()
        self._occupancy.close()
        self._audit.stop()
        # A process that ends while OpenVINO compiles a model is aborted by it.
        self._warming.join(WARM_UP_PATIENCE_S)
        log.info("node_stopped")

    def _warm_up(self) -> None:
        """Load the models of the pipelines that run by themselves, so that a damaged one shows in the health check.

        What may pass by itself (a server that is not there yet) is tried until it has, the other models meanwhile.
        """
        waiting = deque(dict.fromkeys(model.spec for model in models_of(self._analyst.rules.automatic().pipelines)))
        told: dict[str, str] = {}
        while waiting and not self._stopping.is_set():
            spec = waiting.popleft()
            try:
                run_canary(self._analyst.engine, spec)
            except EngineError as error:
                if str(error) != told.get(spec.name):  # a server may be away for days
                    told[spec.name] = str(error)
                    log.error("model_not_usable", model=spec.name, reason=str(error))
                if not error.transient or self._stopping.wait(WARM_UP_PAUSE_S):
                    return
                waiting.append(spec)
        self._engine_warm.set()

    def _ask_index(self) -> str:
        try:
            self._index.ping()
        except StorageCorrupt as unreadable:
            return str(unreadable)
        return "ok"

    def _ask_models(self) -> str:
        if (health := self._analyst.engine.health()) != WELL:
            return health
        return "ok" if self._engine_warm.is_set() else "models are still loading, or failed to (see the log)"

    def _models(self) -> tuple[ModelIdentity, ...]:
        """Those that can be read; what is wrong with the others stands in the log and in the health checks."""
        found = []
        for model in EVERY_MODEL:
            with suppress(EngineError):
                found.append(self._analyst.engine.identity(model.spec))
        return tuple(found)

    def _ask_watch(self) -> str:
        return "ok" if self._watch.alive() else "the completeness watch has stopped: restart the node"


def _report_peers(settings: ScpSettings) -> dict[str, ReportPeer]:
    """Who hears reports of storage commitment, by AE title; peers with one title have one section of it."""
    return {
        peer.ae_title: ReportPeer(peer.commitment, ae_title=peer.ae_title, calling_ae=settings.ae_title)
        for peer in settings.peers
        if peer.commitment is not None
    }


def retry(settings: NodeSettings, study_uid: str) -> str:
    """Take a study up again, whether or not a node is running on this data folder. Returns what was done."""
    database = _existing_database(settings)
    queue = WorkQueue(database)
    try:
        return retry_study(JobTable(open_database(database)), queue, study_uid)
    finally:
        queue.close()


def receive(settings: NodeSettings, folder: Path) -> Iterator[FileOutcome]:
    """Take the files of a folder, whether or not a node is running on this data folder.

    Raises ``StorageCorrupt`` where none ever ran, ``ResourceExhausted`` where the disk is full. A running node finds
    the rows as it finds those of its own door: they are committed to the same index, which it asks again and again.
    """
    index = Index(open_database(_existing_database(settings)))
    audit = _open_audit(settings, settings.data_dir.resolve(), of_command=True)
    with ExitStack() as opened:
        audit.start()
        opened.callback(audit.stop)
        spool, occupancy = _open_spool(settings)
        opened.callback(occupancy.close)
        with occupancy.alone() as alone:  # else a node is running, which has done it
            if alone:
                index_unlisted(spool, index, alone=True)
        intake = Intake(spool, index)
        opened.callback(intake.close)
        told = FolderAudit(record=audit.record, ae_title=settings.scp.ae_title)
        yield from receive_folder(folder, intake, told=told)


def extract_study(settings: NodeSettings, study_uid: str, folder: Path) -> Iterator[FileOutcome]:
    """Write the received instances of a study as Part 10 files into ``folder``, whether or not a node is running.

    Raises ``StorageCorrupt`` where none ever ran, ``OSError`` where the folder cannot be written to.
    """
    index = Index(open_database(_existing_database(settings)))
    for instance in index.instances_of_study(study_uid):
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{instance.facts.sop_instance_uid}.dcm"
        intact = is_intact(instance)
        if intact:
            extract(instance.file, target)
        yield FileOutcome(path=target, refusal="" if intact else "damaged, or gone, in the spool")


def _open_spool(settings: NodeSettings) -> tuple[SegmentSpool, Occupancy]:
    root = settings.data_dir.resolve() / SPOOL
    spool = SegmentSpool(root, minimum_free_bytes=settings.scp.minimum_free_mb * BYTES_PER_MB)
    return spool, Occupancy(root)


def _open_audit(settings: NodeSettings, data_dir: Path, *, of_command: bool = False) -> AuditTrail:
    folder = settings.audit.folder or data_dir / AUDIT
    try:
        files = AuditFiles(folder, file_mb=settings.audit.file_mb, files=settings.audit.files)
    except OSError as error:
        raise SettingsError([f"audit.folder: {folder} cannot be made ({error.strerror})"]) from error
    sinks: list[Sink] = [files]
    if settings.audit.syslog is not None:
        sinks.append(Syslog(settings.audit.syslog))
    return AuditTrail(sinks, ae_title=settings.scp.ae_title, of_command=of_command)


def open_overview(settings: NodeSettings) -> Overview:
    """What the node of this data folder knows about its studies. Raises ``StorageCorrupt`` where none ever ran."""
    return Overview(open_database(_existing_database(settings)))


def _existing_database(settings: NodeSettings) -> Path:
    database = settings.data_dir.resolve() / DATABASE
    if not database.exists():
        raise StorageCorrupt(f"no node has ever run on {settings.data_dir}: give its --data-dir or --config")
    return database
