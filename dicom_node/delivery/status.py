"""What a C-STORE response status means for an object: a pure function (PS3.4 table B.2-1, PS3.7 Annex C)."""

from enum import Enum

SUCCESS = 0x0000
OUT_OF_RESOURCES = range(0xA700, 0xA800)
TRANSIENT = frozenset({0x0110, 0x0213})
"""Processing failure, resource limitation: the peer's trouble, not the object's."""
WARNINGS = range(0xB000, 0xC000)
CLASS_NOT_SUPPORTED = frozenset({0x0122, *range(0xA900, 0xAA00)})
"""SOP class not supported, data set does not match SOP class: another class may be taken."""
OTHER_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class Meaning(Enum):
    """What to do about an object."""

    ACCEPTED = "accepted"
    """The peer has it."""
    LATER = "later"
    """The same object may be taken later."""
    UNSUPPORTED = "unsupported"
    """The peer does not take objects of this SOP class: it may take another in its place."""
    REFUSED = "refused"
    """The same object will never be taken: an operator has to act."""


def meaning(status: int | None) -> Meaning:
    """Meaning of a status; no status at all (time-out, abort) may be taken later."""
    if status is None or status in OUT_OF_RESOURCES or status in TRANSIENT:
        return Meaning.LATER
    if status == SUCCESS or status in WARNINGS or status in OTHER_WARNINGS:
        return Meaning.ACCEPTED
    if status in CLASS_NOT_SUPPORTED:
        return Meaning.UNSUPPORTED
    return Meaning.REFUSED
