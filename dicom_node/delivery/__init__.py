"""Bringing objects to where they belong. A seam: ``base`` has the protocol, ``dimse`` sends by C-STORE.

``encryption`` is TLS on the way there. ``folder`` sends any DICOM files of a folder, for ``dicom-node send``.
"""

from dicom_node.delivery.base import Destination, SendOutcome
from dicom_node.delivery.dimse import Address, DimseDestination
from dicom_node.delivery.folder import send_folder

__all__ = ["Address", "Destination", "DimseDestination", "SendOutcome", "send_folder"]
