"""The one preparation of slices for the models that were trained on COVID-19-CT-Seg pictures.

Training pictures, phantoms and DICOM at run time all pass here, so that a model never sees anything else. The public
pictures had lost their Hounsfield units: each slice was stretched from its minimum to its maximum to 8 bit, reduced
to 256×256 and put through contrast-limited adaptive histogram equalisation (OpenCV, clip limit 7, 8×8 tiles).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.model import TensorSpec

SIZE_PX = 256
CLAHE_CLIP_LIMIT = 7.0
CLAHE_TILES = (8, 8)
DARKEST_HU, BRIGHTEST_HU = -1024, 2000
"""Outside of it lie padding and metal, which would flatten the contrast of everything else."""

INPUT = TensorSpec(name="slices", dtype="float16", shape=(1, SIZE_PX, SIZE_PX))
"""Grey levels 0-255; whole numbers, so float16 holds them exactly."""
LUNGS = TensorSpec(name="lungs", dtype="uint8", shape=(SIZE_PX, SIZE_PX))
"""1 in the lungs, lesions included, 0 elsewhere: a second input of the models that look into the lungs only."""
OUTPUT = TensorSpec(name="labels", dtype="uint8", shape=(SIZE_PX, SIZE_PX))


def stretch_slice(slice_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """One slice (rows, columns) in HU as 8-bit grey levels of 256×256, before equalisation."""
    clipped = np.clip(slice_hu, DARKEST_HU, BRIGHTEST_HU).astype(np.float32)
    darkest, brightest = float(clipped.min()), float(clipped.max())
    scale = 255.0 / (brightest - darkest) if brightest > darkest else 0.0
    grey = ((clipped - darkest) * scale).astype(np.uint8)
    return cv2.resize(grey, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def equalise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation as the training pictures had it."""
    clahe = cv2.createCLAHE(clipLimit=CLAHE_CLIP_LIMIT, tileGridSize=CLAHE_TILES)
    return clahe.apply(grey).astype(np.uint8, copy=False)


def prepare_slices(array_zyx: NDArray[np.int16]) -> NDArray[np.float16]:
    """HU slices (n, rows, columns) as the models' input (n, 1, 256, 256)."""
    prepared = np.empty((len(array_zyx), *INPUT.shape), np.float16)
    for target, slice_hu in zip(prepared, array_zyx, strict=True):
        target[0] = equalise(stretch_slice(slice_hu))
    return prepared
