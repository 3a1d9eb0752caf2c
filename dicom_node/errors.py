"""The one error tree of the node.

    NodeError
    ├── TransientError          may succeed when tried again unchanged; the flow retries it
    │   ├── PeerUnavailable       a destination or peer does not answer, or answers "later"
    │   └── ResourceExhausted     disk, memory or a queue is full
    ├── PermanentError          will fail again; parked where an operator sees it
    │   ├── PeerRefused           a destination refused an object for good
    │   └── StorageCorrupt        the spool and the index contradict each other
    ├── Refused                 the input is not what we take; carries the reason that the sender or reader is told
    │   ├── InstanceRefused       an instance that the Storage SCP must not accept
    │   ├── CommitmentRefused     a request for storage commitment that cannot be taken
    │   └── NotAnalysable         a series that no volume can be built from, or a study that no pipeline reads
    └── SettingsError           configuration mistakes, all of them, each with its dotted path

Messages name the cause, the UIDs and what to do. They never hold patient identifiers nor bytes or text
from a received data set (UIDs that passed the syntax check excepted).
"""

from collections.abc import Sequence
from enum import IntEnum


class StoreStatus(IntEnum):
    """How the Storage SCP answers an instance (PS3.4 table B.2-1, PS3.7 Annex C), and what that means."""

    meaning: str

    def __new__(cls, status: int, meaning: str) -> "StoreStatus":
        """A status with the sentence that the conformance statement prints."""
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    SUCCESS = 0x0000, "The instance is durable: written and synchronised; or it was already"
    PROCESSING_FAILURE = 0x0110, "A fault of the node; its log says more"
    INVALID_SOP_INSTANCE = 0x0117, "The SOP Instance UID of the command or of the data set is missing or not valid"
    CLASS_NOT_SUPPORTED = 0x0122, "The SOP class is not among those accepted; in files and STOW-RS, see there"
    OUT_OF_RESOURCES = 0xA700, "The disk is full, or below the configured free space; the sender may try again later"
    MISMATCH = 0xA900, "Presentation context, command and data set do not name the same SOP class and instance"
    CANNOT_UNDERSTAND = 0xC000, "The data set is damaged, over a limit, or lacks a valid study or series UID"
    OTHER_CONTENT = 0xC001, "The SOP Instance UID is taken by other content, which stays as it is"
    SYNTAX_NOT_SUPPORTED = 0xC122, "The transfer syntax is not among those accepted; in files and STOW-RS, see there"


class NodeError(Exception):
    """Base of every error this package raises on purpose."""


class TransientError(NodeError):
    """May succeed when tried again unchanged."""


class PeerUnavailable(TransientError):
    """A peer does not answer, rejects for now, or answers with a status that says "later"."""


class ResourceExhausted(TransientError):
    """Disk, memory or a queue is full."""


class PermanentError(NodeError):
    """Will fail again unchanged: an operator has to act."""


class PeerRefused(PermanentError):
    """A destination refused an object for good (status A9xx, Cxxx, 0122, 0117, 0124)."""


class StorageCorrupt(PermanentError):
    """What the index says and what lies in the spool contradict each other."""


class Refused(NodeError):
    """The input is not what we take. The message is the reason that people are shown."""


class InstanceRefused(Refused):
    """An instance that the Storage SCP answers with a failure status.

    The message goes into Error Comment (0000,0902), so it is at most 64 characters of
    ASCII.
    """

    def __init__(self, status: StoreStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class CommitmentRefused(Refused):
    """A request for storage commitment that is answered with a failure status (PS3.7 section 10.1.4.1.10)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotAnalysable(Refused):
    """No volume can be built, or no pipeline reads it. The message completes "not analysed: …"."""


class SettingsError(NodeError):
    """Configuration mistakes. ``mistakes`` holds all of them as "dotted.path: what is wrong"."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)
