"""``/metrics`` for Prometheus: where the time of models goes, how many studies are in which state, what is not ready.

Labels are names of models, engines, parts and states, each from a closed list: no study, no patient, no address.
"""

from collections.abc import Callable, Iterator, Mapping

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from dicom_node.index import Overview
from dicom_node.records import StudyState
from inference.engines.times import InferenceTimes, Part

Ask = Callable[[], str]


def create_metrics(
    *, overview: Overview, readiness: Mapping[str, Ask], times: InferenceTimes, version: str
) -> APIRouter:
    """The page. Everything is asked anew for every reading; nothing is kept in a registry of the process."""
    router = APIRouter(include_in_schema=False)
    registry = CollectorRegistry()
    registry.register(_Node(overview=overview, readiness=readiness, times=times, version=version))

    @router.get("/metrics")
    def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Node(Collector):
    def __init__(
        self, *, overview: Overview, readiness: Mapping[str, Ask], times: InferenceTimes, version: str
    ) -> None:
        self._overview, self._readiness, self._times, self._version = overview, readiness, times, version

    def describe(self) -> list[Metric]:
        """Nothing: names need not be known before the first reading."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        info = GaugeMetricFamily("dicom_node_info", "Always 1; the label says which version runs.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        yield from self._inference()
        ready = GaugeMetricFamily("dicom_node_ready", "1 where a part works, as /health/ready.", labels=["part"])
        answers = {name: ask() for name, ask in self._readiness.items()}
        for name, answer in answers.items():
            ready.add_metric([name], float(answer == "ok"))
        yield ready
        if answers.get("index", "ok") != "ok":
            return  # the rest is worth reading all the more
        studies = GaugeMetricFamily("dicom_node_studies", "Studies in each state.", labels=["state"])
        counted = self._overview.states()
        for state in StudyState:
            studies.add_metric([state.value], counted.get(state.value, 0))
        yield studies

    def _inference(self) -> Iterator[Metric]:
        names = ["model", "engine"]
        seconds = CounterMetricFamily(
            "dicom_node_inference_seconds",
            "Time of answered requests: in the queue, in the model, on the way (transport; only of Triton).",
            labels=[*names, "part"],
        )
        requests = CounterMetricFamily("dicom_node_inference_requests", "Requests that a model answered.", labels=names)
        slices = CounterMetricFamily("dicom_node_inference_slices", "Slices in these requests.", labels=names)
        failures = CounterMetricFamily("dicom_node_inference_failures", "Runs that ended in an error.", labels=names)
        for one in self._times.read():
            labels = [one.model, one.engine]
            requests.add_metric(labels, one.requests)
            slices.add_metric(labels, one.slices)
            failures.add_metric(labels, one.failures)
            for part in Part:
                if part in one.seconds:
                    seconds.add_metric([*labels, part.value], one.seconds[part])
        yield from (seconds, requests, slices, failures)
