"""A folder of labelled cases through a served model.

Cases in Hounsfield units are compared on their own grid, with labels enlarged as at run time; pictures that lost their
Hounsfield units are compared as they are, at 256×256. The cleaning that pipelines do afterwards is not in here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.model import Model
from inference.models.slice_labels import labels_enlarged
from inference.models.slice_preparation import OUTPUT, prepare_slices
from inference.training.cases import READERS, Case, CaseReader, case_names, read_case
from inference.training.cases.base import LESION, LUNG
from inference.training.evaluation.marking import model_inputs
from inference.training.evaluation.measurement import Measurement, PatientMeasurement
from inference.training.evaluation.overlap import Overlap
from inference.training.evaluation.precision_recall import ProbabilityHistogram
from inference.training.evaluation.scores import Scores

LOWEST_OF_PALETTE = {"lung": LUNG, "infected region": LESION}
"""By the name of a model's label: from which value of the palette on a pixel is true."""
NO_GRAPH = "no graph at hand"
NO_PROBABILITY = "no probability in this graph"
OTHER_GRAPH = "the graph at hand is not the one that serves"


def evaluate(
    model: Model,
    engine: Engine,
    data: Path,
    cases: Sequence[str] | None = None,
    *,
    readers: Sequence[CaseReader] = READERS,
    graph: Path | None = None,
) -> dict[str, Any]:
    """Figures of ``measure``, ready for JSON."""
    return measure(model, engine, data, cases, readers=readers, graph=graph).figures()


def measure(
    model: Model,
    engine: Engine,
    data: Path,
    cases: Sequence[str] | None = None,
    *,
    readers: Sequence[CaseReader] = READERS,
    graph: Path | None = None,
) -> Measurement:
    """Run the model on cases of the folder ``data`` (all of them by default) and count.

    ``graph``: the model's ONNX file, for the figures over all thresholds; without it they are left out. Raises
    ``ValueError`` for cases that cannot be read and ``EngineError`` for a model that does not run.
    """
    known = case_names(data, readers)
    if not known:
        raise ValueError(f"{data} holds no labelled case (see docs/training.md)")
    names = cases or known
    if strangers := sorted(set(names) - set(known)):
        raise ValueError(f"{data} holds no labelled case named {', '.join(strangers)}")
    identity = engine.identity(model.spec)
    scores, because = _scores(graph, identity.digest)
    return Measurement(
        identity=identity,
        data_set=data.resolve().name,
        patients={name: measure_case(model, engine, read_case(data / name, readers), scores) for name in names},
        no_curve_because=because,
    )


def measure_case(model: Model, engine: Engine, case: Case, scores: Scores | None = None) -> PatientMeasurement:
    """One patient."""
    rows, columns = case.slices.shape[1:]
    truth = case.palette >= _lowest_of_palette(model)
    inputs = model_inputs(model, engine, prepared_case(case))
    labels = engine.run(model.spec, inputs)[OUTPUT.name]
    marked = labels_enlarged((labels > 0).astype(np.uint8), rows=rows, columns=columns).view(np.bool_)
    histogram = None if scores is None else _histogram(scores.probability(model.spec, inputs), truth)
    return PatientMeasurement(overlap=Overlap.of(marked, truth), histogram=histogram)


def prepared_case(case: Case) -> NDArray[np.float16]:
    """Slices as the models' input (n, 1, 256, 256)."""
    if case.in_hounsfield_units:
        return prepare_slices(case.slices.astype(np.int16, copy=False))
    return case.slices[:, None].astype(np.float16)


def _lowest_of_palette(model: Model) -> int:
    label = model.spec.labels[1]
    if label not in LOWEST_OF_PALETTE:
        raise ValueError(f"{model.spec.name} marks {label!r}; labelled cases know {', '.join(LOWEST_OF_PALETTE)}")
    return LOWEST_OF_PALETTE[label]


def _scores(graph: Path | None, digest: str) -> tuple[Scores | None, str]:
    """The probabilities, or why there are none."""
    if graph is None:
        return None, NO_GRAPH
    scores = Scores(graph)
    if scores.digest != digest:
        return None, OTHER_GRAPH
    return (scores, "") if scores.known else (None, NO_PROBABILITY)


def _histogram(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> ProbabilityHistogram:
    """Slice by slice on the truth's grid; probabilities are linear between the model's pixels."""
    rows, columns = truth.shape[1:]
    histogram = ProbabilityHistogram.empty()
    for one, true in zip(probability, truth, strict=True):
        enlarged = cv2.resize(one, (columns, rows), interpolation=cv2.INTER_LINEAR)
        histogram += ProbabilityHistogram.of(enlarged.astype(np.float32, copy=False), true)
    return histogram
