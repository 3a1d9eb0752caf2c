"""The Storage SCP: who may associate, what is taken, and the status that answers each instance.

Our own acceptor, because receiving is the heart of a node and pynetdicom's is five times slower than the disk; for
everything that the node sends, pynetdicom is good enough. The way of a byte:

    server       listens; a thread for every connection
    association  one of them: walks the state machine of ``upper_layer``; ``pdus``, ``negotiation`` for its request
    transfer     the one buffer of a connection; PDU heads and fragments walked in place
    dialogue     messages: ``commands`` decodes and encodes command sets, ``operations`` answers requests
    intake       from pieces of a data set to a durable instance; ``claims``: one thread at a time for a UID;
                 ``ledger`` commits the row

``policy`` decides who may associate and ``contexts`` lists what is accepted; both are pure. ``deadlines`` and
``places`` bound what peers may cost. Every wait for a peer has a deadline, every size a bound, and a peer's fault ends
its own association only. PS3.4 Annexes A, B, J; PS3.7 sections 9 and 10; PS3.8 section 9.
"""

from dicom_node.association.intake import Intake
from dicom_node.association.requests import (
    AssociationEvent,
    CommitmentRequest,
    EventKind,
    Offer,
    ReceivedInstance,
)
from dicom_node.association.server import StorageScp

__all__ = [
    "AssociationEvent",
    "CommitmentRequest",
    "EventKind",
    "Intake",
    "Offer",
    "ReceivedInstance",
    "StorageScp",
]
