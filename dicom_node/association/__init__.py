"""The Storage SCP: who may associate, what is taken, and the status that answers each instance.

``policy`` decides and ``contexts`` lists; both are pure. ``server`` is pynetdicom's acceptor with the bounds that it
lacks, ``intake`` makes an instance durable before success is answered. PS3.4 Annex B, PS3.7 section 9.1.1, PS3.8.
"""

from dicom_node.association.intake import Intake, ReceivedInstance
from dicom_node.association.server import StorageScp

__all__ = ["Intake", "ReceivedInstance", "StorageScp"]
