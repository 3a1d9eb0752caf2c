"""One study from received instances to findings. No network, no database, no workflow engine.

Used by the durable flow and by ``dicom-node infer``. Every way through ends in findings: what cannot be
analysed is an outcome with a reason, not an exception. Exceptions mean that the machine failed, not the input.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from dicom_node.errors import NotAnalysable
from dicom_node.records import Series, SeriesDecision
from dicom_node.results import ResultRequest
from dicom_node.routing import Candidate, Routing, Rules, choose
from dicom_node.volumes import DecodePool, SeriesVolume, build_volume
from inference.engines.base import Engine
from inference.findings import Findings, Status
from inference.pipelines import models_of, run_pipeline

log = structlog.get_logger(__name__)

NO_INPUT = "the study holds no series that a pipeline reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyst:
    """What an analysis needs besides the study."""

    rules: Rules
    engine: Engine
    software_version: str
    only_pipeline: str | None = None
    """Leave candidates of other pipelines aside."""
    decoders: DecodePool = field(default_factory=DecodePool)
    """Whoever made the analyst closes it."""

    def engine_health(self, series: Sequence[Series]) -> str:
        """``WELL``, or why a study of these series would have to wait: a server is away, or serves another model.

        Asked before anything is decoded. Looks at the models of the best candidate's pipeline.
        """
        chosen = [candidate.pipeline for candidate in self._routed(series).candidates[:1]]
        return self.engine.health([model.spec for model in models_of(chosen)])

    def analyse(
        self,
        *,
        study_uid: str,
        series: Sequence[Series],
        created_at: datetime,
        cancelled: Callable[[], bool] | None = None,
    ) -> ResultRequest:
        """Choose a series, build its volume, run its pipeline; the next candidate where one cannot be read.

        ``created_at`` becomes the content date and time of the results. Raises ``EngineError`` and
        ``ResourceExhausted``; never ``NotAnalysable``.
        """
        routing = self._routed(series)
        built = _Volumes(self.decoders)
        reasons = {decision.series_uid: decision for decision in routing.decisions}
        outcome: _Outcome | None = None
        for candidate in routing.candidates:
            chosen = next(one for one in series if one.series_uid == candidate.series_uid)
            outcome = self._attempt(candidate, chosen, built, cancelled)
            if outcome.findings.status is not Status.NOT_ANALYSED:
                reasons[candidate.series_uid] = SeriesDecision(
                    series_uid=candidate.series_uid, pipeline=candidate.pipeline, reason=candidate.reason
                )
                _leave_to(candidate, reasons)
                break
            reasons[candidate.series_uid] = SeriesDecision(
                series_uid=candidate.series_uid, pipeline=None, reason=f"not analysed: {outcome.findings.reason}"
            )
        decisions = tuple(reasons[decision.series_uid] for decision in routing.decisions)
        if outcome is None:
            outcome = _Outcome(findings=not_analysed(_summary_reason(decisions)), volume=None, series_uid=None)
        volume = outcome.volume if outcome.findings.status is not Status.NOT_ANALYSED else None
        return ResultRequest(
            study_uid=study_uid,
            series=tuple(series),
            decisions=decisions,
            findings=outcome.findings,
            volume=None if volume is None else volume.volume,
            sources=() if volume is None else volume.sources,
            chosen_series_uid=outcome.series_uid if volume is not None else None,
            created_at=created_at,
            settings_digest=self.rules.digest(outcome.findings.pipeline) if outcome.findings.pipeline else "",
            software_version=self.software_version,
        )

    def _routed(self, series: Sequence[Series]) -> Routing:
        return choose(series, self.rules if self.only_pipeline is None else self.rules.only(self.only_pipeline))

    def _attempt(
        self, candidate: Candidate, series: Series, built: "_Volumes", cancelled: Callable[[], bool] | None
    ) -> "_Outcome":
        started = time.perf_counter()
        try:
            volume = built.of(series, minimum_slices=self.rules.minimum_slices(candidate.pipeline))
        except NotAnalysable as refusal:
            findings = not_analysed(str(refusal), pipeline=candidate.pipeline)
            return _Outcome(findings=findings, volume=None, series_uid=series.series_uid)
        built_s = time.perf_counter() - started
        findings = run_pipeline(candidate.pipeline, volume.volume, self.engine, cancelled=cancelled)
        findings = replace(findings, timings_s={"volume": round(built_s, 3), **findings.timings_s})
        return _Outcome(findings=findings, volume=volume, series_uid=series.series_uid)


class _Volumes:
    """Builds volumes and keeps the last one, since the next pipeline often looks at the series that one refused."""

    def __init__(self, decoders: DecodePool) -> None:
        self._decoders = decoders
        self._last: tuple[str, SeriesVolume] | None = None

    def of(self, series: Series, *, minimum_slices: int) -> SeriesVolume:
        """The volume of a series. Raises ``NotAnalysable``."""
        if self._last is not None and self._last[0] == series.series_uid:
            volume = self._last[1]
            if len(volume.sources) >= minimum_slices:
                return volume
        self._last = None  # two volumes at a time are too many
        volume = build_volume(series, decoders=self._decoders, minimum_slices=minimum_slices)
        self._last = series.series_uid, volume
        return volume


def _leave_to(candidate: Candidate, reasons: dict[str, SeriesDecision]) -> None:
    """Series that another pipeline would have read are not analysed: a study gets one set of results."""
    for uid, decision in reasons.items():
        if decision.pipeline not in (None, candidate.pipeline):
            reasons[uid] = SeriesDecision(
                series_uid=uid,
                pipeline=None,
                reason=f"not analysed: {candidate.pipeline} read another series of this study",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    findings: Findings
    volume: SeriesVolume | None
    series_uid: str | None


def not_analysed(reason: str, *, pipeline: str = "") -> Findings:
    """Findings of a study that no pipeline could read."""
    return Findings(pipeline=pipeline, status=Status.NOT_ANALYSED, reason=reason, models=())


def unanalysed_request(
    *, study_uid: str, series: Sequence[Series], reason: str, created_at: datetime, software_version: str
) -> ResultRequest:
    """The result of a study whose analysis failed in the machine, so that it does not end in silence."""
    return ResultRequest(
        study_uid=study_uid,
        series=tuple(series),
        decisions=tuple(
            SeriesDecision(series_uid=one.series_uid, pipeline=None, reason=f"not analysed: {reason}") for one in series
        ),
        findings=not_analysed(reason),
        volume=None,
        sources=(),
        chosen_series_uid=None,
        created_at=created_at,
        settings_digest="",
        software_version=software_version,
    )


def _summary_reason(decisions: Sequence[SeriesDecision]) -> str:
    """The reasons of all series as one sentence, each said once."""
    reasons = dict.fromkeys(decision.reason.removeprefix("not analysed: ") for decision in decisions)
    return "; ".join(reasons) if reasons else NO_INPUT
