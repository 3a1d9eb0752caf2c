"""Slices become a volume with true geometry in Hounsfield units, or a reason why not.

``build.py`` is the way through; ``geometry.py`` decides order and regularity from positions alone; ``stored_pixels.py``
finds each frame's bytes; ``decode.py`` turns them into stored values.
"""

from dicom_node.volumes.build import MINIMUM_SLICES, SeriesVolume, build_volume

__all__ = ["MINIMUM_SLICES", "SeriesVolume", "build_volume"]
