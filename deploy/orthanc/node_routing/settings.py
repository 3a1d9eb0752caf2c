"""The plugin's section of Orthanc's configuration.

Owns names and defaults, and finds all mistakes before Orthanc serves anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SECTION: Final = "DicomNode"
STATE: Final = "DicomNodeState"
"""Metadata of a study: what became of it, for people."""
SENT: Final = "DicomNodeSent"
"""Metadata of a series: the digest of the instances that the node has taken."""
STABLE_AGE_S: Final = 60.0
"""Orthanc's own default of "StableAge"."""

_SECONDS: Final = {"PollSeconds": 5.0, "RetryFirstSeconds": 5.0, "RetryLongestSeconds": 600.0}


class WrongConfiguration(ValueError):
    """Every mistake, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """``modality``: the node's entry in "DicomModalities". ``manufacturer``: what the node writes into its results."""

    modality: str
    manufacturer: str
    stable_age_s: float
    poll_s: float
    retry_first_s: float
    retry_longest_s: float


def read_settings(configuration: Mapping[str, Any]) -> RoutingSettings:
    """From Orthanc's whole configuration. Raises ``WrongConfiguration``."""
    section = configuration.get(SECTION, {})
    mistakes = [*_in_section(section), *_around(configuration, section)]
    if mistakes:
        raise WrongConfiguration("\n".join(mistakes))
    seconds = {name: float(section.get(name, default)) for name, default in _SECONDS.items()}
    return RoutingSettings(
        modality=section["Modality"],
        manufacturer=section.get("Manufacturer", "dicom-node"),
        stable_age_s=float(configuration.get("StableAge", STABLE_AGE_S)),
        poll_s=seconds["PollSeconds"],
        retry_first_s=seconds["RetryFirstSeconds"],
        retry_longest_s=seconds["RetryLongestSeconds"],
    )


def _in_section(section: Mapping[str, Any]) -> list[str]:
    mistakes = [f"{SECTION}.{name}: unknown" for name in section if name not in {"Modality", "Manufacturer", *_SECONDS}]
    mistakes += [
        f"{SECTION}.{name}: a number of seconds above 0 is expected"
        for name in _SECONDS
        if name in section and not (isinstance(section[name], (int, float)) and section[name] > 0)
    ]
    return mistakes


def _around(configuration: Mapping[str, Any], section: Mapping[str, Any]) -> list[str]:
    mistakes = [
        f'UserMetadata.{name}: missing, e.g. "UserMetadata": {{"{STATE}": 5201, "{SENT}": 5202}}'
        for name in (STATE, SENT)
        if name not in configuration.get("UserMetadata", {})
    ]
    if configuration.get("JobsHistorySize", 10) < 1:
        mistakes.append("JobsHistorySize: 1 or more is needed, to learn how a transfer has ended")
    modality = section.get("Modality", "")
    in_database = configuration.get("DicomModalitiesInDatabase", False)
    if not modality:
        mistakes.append(f'{SECTION}.Modality: missing; the name of the node in "DicomModalities"')
    elif not in_database and modality not in configuration.get("DicomModalities", {}):
        mistakes.append(f'{SECTION}.Modality: "DicomModalities" has no "{modality}"')
    return mistakes
