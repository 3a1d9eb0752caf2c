"""What was measured on the patients of a folder, and its figures as they go into JSON.

Pooled figures count the pixels of all patients together, each on its own grid, so that large and finely sampled
patients weigh more; the mean over patients weighs everyone alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from inference.findings import ModelIdentity
from inference.training.evaluation.bootstrap import interval_95
from inference.training.evaluation.overlap import Overlap
from inference.training.evaluation.precision_recall import Curve, ProbabilityHistogram

AVERAGED = ("dice", "iou", "precision", "recall", "average_precision")
"""Figures that are averaged over patients, with intervals."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatientMeasurement:
    """Counts of one patient. ``histogram`` is ``None`` where the graph tells no probability."""

    overlap: Overlap
    histogram: ProbabilityHistogram | None

    def figures(self) -> dict[str, Any]:
        """Average precision is ``None`` for a patient without true pixels: there is no recall then."""
        if self.histogram is None:
            return self.overlap.figures()
        curve = self.histogram.curve()
        return self.overlap.figures() | {"average_precision": curve.average_precision if curve else None}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """One model on one data set. ``no_curve_because`` is empty where every patient has a histogram."""

    identity: ModelIdentity
    data_set: str
    patients: Mapping[str, PatientMeasurement]
    no_curve_because: str

    def curve(self) -> Curve | None:
        """Of all pixels of all patients."""
        histograms = [one.histogram for one in self.patients.values() if one.histogram is not None]
        return sum(histograms, ProbabilityHistogram.empty()).curve()

    def figures(self) -> dict[str, Any]:
        """Ready for JSON. Without probabilities, ``no_curve_because`` stands in place of the curve."""
        curve = self.curve()
        patients = {name: one.figures() for name, one in self.patients.items()}
        pooled: dict[str, Any] = reduce(add, (one.overlap for one in self.patients.values())).figures()
        figures: dict[str, Any] = {
            "model": self.identity.name,
            "version": self.identity.version,
            "digest": self.identity.digest,
            "data_set": self.data_set,
            "patients": patients,
            "mean_per_patient": mean_per_patient(patients),
            "pooled": pooled,
        }
        if self.no_curve_because:
            return figures | {"no_curve_because": self.no_curve_because}
        return figures | {
            "average_precision": curve.average_precision if curve else None,
            "curve": curve.figures() if curve else None,
        }


def mean_per_patient(patients: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of each figure over the patients that have it, and its 95 % interval (``<figure>_95``).

    The interval is ``None`` for a single patient.
    """
    means: dict[str, Any] = {}
    for figure in AVERAGED:
        values = np.array([one[figure] for one in patients.values() if one.get(figure) is not None])
        if len(values):
            means |= {figure: float(values.mean()), f"{figure}_95": interval_95(values)}
    return means
