"""The only place where UIDs are minted.

Every UID follows from what it names, so that a repeated run writes the same object under the same UID and a PACS
keeps one copy of it, while another model, other settings or other source images give another one. The version of
this software is left out on purpose: an update alone does not double the results of a study.

Form: PS3.5 section B.2, ``2.25.`` and a UUID as a decimal number. Knows neither data sets nor files.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable
from typing import Final

from inference.findings import ModelIdentity

IMPLEMENTATION_CLASS_UID: Final = "2.25.327391669490820601451722497825158360342"
"""Implementation Class UID (0002,0012) of this node; fixed for all versions (PS3.7 section D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME: Final = "DICOM_NODE_0_1"
"""Implementation Version Name (0002,0013), at most 16 characters."""

ROOT: Final = "2.25."
"""Of every UID that is minted here: a UUID needs no registered root (PS3.5 section B.2)."""


def result_uid(
    *,
    role: str,
    sources: Iterable[str],
    models: Iterable[ModelIdentity],
    settings_digest: str,
    reason: str,
) -> str:
    """UID of one thing that the node makes.

    ``role`` says what it names, e.g. "segmentation/instance"; ``sources`` are the SOP Instance UIDs that the study
    held, in any order; ``settings_digest`` stands for the settings that shape the result.
    ``reason``: why nothing was analysed; a retry may have another, and one UID must never name two contents.
    """
    identities = sorted((model.name, model.version, model.digest) for model in models)
    return _mint("result", role, sorted(set(sources)), identities, settings_digest, reason)


def device_uid(settings_digest: str) -> str:
    """Device Observer UID (121012, DCM) of a node with these settings."""
    return _mint("device", settings_digest)


def phantom_uid(*parts: str | int) -> str:
    """UID of a part of a generated study, from everything that tells it from other parts of other phantoms."""
    return _mint("phantom", *parts)


def restored_uid(*parts: str) -> str:
    """UID for an instance, series or study that came without a valid one, from what still tells it from others."""
    return _mint("restored", *parts)


def _mint(*parts: object) -> str:
    # JSON keeps the borders between parts: ("ab", "c") and ("a", "bc") must differ.
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()
    return f"{ROOT}{uuid.UUID(bytes=digest[:16], version=5).int}"
