"""Where received bytes lie. A seam: ``base`` has the protocol, ``segments`` keeps them on a local disk.

    segments     which segment an instance goes into
    segment      one of them, and the writer of an instance; ``record_head`` and ``part10`` make what stands before it
    salvage      the way back: from the bytes of a segment to what it holds

``folder`` and ``restoration`` read a folder of DICOM files as if they had been received, for ``dicom-node infer``.
"""

from dicom_node.spool.base import Found, Spool, SpoolWriter
from dicom_node.spool.segments import SegmentSpool

__all__ = ["Found", "SegmentSpool", "Spool", "SpoolWriter"]
