"""What lies in a study of the archive, and what follows from it: what is still to be sent, and what is to be shown.

Owns the decisions; pure functions of values. Knows nothing of Orthanc's API, of time and of threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

CT_IMAGE_CLASSES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
    }
)
"""The SOP classes that the node analyses (its conformance statement, overview). Everything else stays here."""

QUEUED: Final = "queued"
SENDING: Final = "sending"
SENT: Final = "sent"
NODE_AWAY: Final = "queued: the node does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An instance: Orthanc's identifier, and what the standard calls it."""

    identifier: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """``sent`` is the digest of the instances that the node has taken; empty where there are none."""

    identifier: str
    modality: str
    manufacturer: str
    images: tuple[Image, ...]
    sent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report of the node says: when, the outcome, and the SOP Instance UIDs that it rests on."""

    made: str
    outcome: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """``state`` is what people were shown last; empty where nothing was."""

    identifier: str
    series: tuple[Series, ...]
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Instances to send, by Orthanc's identifiers, and the digest to note for each series when they have arrived."""

    instances: tuple[str, ...]
    digests: Mapping[str, str]


def digest(instances: Iterable[str]) -> str:
    """One name for a set of instances, whatever their order."""
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()


def images_for_the_node(series: Series, *, node_manufacturer: str) -> tuple[Image, ...]:
    """The CT images of a series; none of a series that the node itself has made, so that nothing goes round."""
    if series.manufacturer == node_manufacturer:
        return ()
    return tuple(image for image in series.images if image.sop_class_uid in CT_IMAGE_CLASSES)


def unsent(study: Study, *, node_manufacturer: str) -> Shipment | None:
    """Every series whose images are not those that the node has taken; ``None`` where there is no such series.

    A late image sends its whole series again: the node knows the others and takes them once.
    """
    instances: list[str] = []
    digests: dict[str, str] = {}
    for series in study.series:
        images = [image.identifier for image in images_for_the_node(series, node_manufacturer=node_manufacturer)]
        if images and digest(images) != series.sent:
            instances += images
            digests[series.identifier] = digest(images)
    return Shipment(instances=tuple(instances), digests=digests) if instances else None


def is_complete(*, stable: bool, up_s: float, stable_age_s: float) -> bool:
    """Whether nothing more of a study is expected.

    ``stable`` is Orthanc's word: nothing has arrived for ``stable_age_s``, or nothing since it started, ``up_s`` ago.
    So at a start everything is stable, also a study whose transfer a crash has broken off: the sender gets the time
    to come back that it would have had without the crash.
    """
    return stable and up_s >= stable_age_s


def settled_state(study: Study, reports: Iterable[Report], *, node_manufacturer: str) -> str:
    """What to show for a study of which everything is sent; empty where it has nothing for the node.

    Answered by a report that rests on every image sent, so that the report of an earlier, smaller state of the study
    does not count for the images that came after it.
    """
    images = {
        image.sop_instance_uid
        for series in study.series
        for image in images_for_the_node(series, node_manufacturer=node_manufacturer)
    }
    if not images:
        return ""
    answers = [report for report in reports if images <= report.evidence]
    return f"answered: {max(answers, key=lambda report: report.made).outcome}" if answers else SENT
