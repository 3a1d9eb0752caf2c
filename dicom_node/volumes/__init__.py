"""Slices become a volume with true geometry in Hounsfield units, or a reason why not.

``build.py`` is the way through; ``geometry.py`` decides order and regularity from positions alone; ``stored_pixels.py``
finds each frame's bytes; ``decode.py`` turns them into stored values, the compressed ones in the processes that
``decode_pool.py`` keeps and ``decode_worker.py`` is.
"""

from dicom_node.volumes.build import MINIMUM_SLICES, SeriesVolume, build_volume
from dicom_node.volumes.decode_pool import DecodeLimits, DecodePool

__all__ = ["MINIMUM_SLICES", "DecodeLimits", "DecodePool", "SeriesVolume", "build_volume"]
