"""Where received bytes lie. A seam: ``base`` has the protocol, ``files`` and ``writers`` keep them on a local disk.

``folder`` and ``restoration`` read a folder of DICOM files as if they had been received, for ``dicom-node infer``.
"""

from dicom_node.spool.base import Spool, SpoolWriter, Stored
from dicom_node.spool.files import FileSpool

__all__ = ["FileSpool", "Spool", "SpoolWriter", "Stored"]
