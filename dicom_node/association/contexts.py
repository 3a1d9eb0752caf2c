"""What the Storage SCP accepts: abstract syntaxes and transfer syntaxes, in one table each.

CT objects are analysed. The rest is what a routed CT study brings along; it is stored, never processed.
"""

from typing import Final

from pydicom import uid

VERIFICATION: Final = "1.2.840.10008.1.1"
"""C-ECHO (PS3.4 Annex A)."""
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 Annex J)."""

ANALYSED_CLASSES: tuple[uid.UID, ...] = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
)
"""PS3.4 table B.5-1: the classes that a volume can be built from."""

STORED_CLASSES: tuple[uid.UID, ...] = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.SegmentationStorage,
    uid.SurfaceSegmentationStorage,
    uid.RawDataStorage,
    uid.EncapsulatedPDFStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.MRImageStorage,
    uid.RTStructureSetStorage,
    uid.ParametricMapStorage,
)

UNCOMPRESSED: tuple[uid.UID, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
"""Encodings without compressed pixel data. C-ECHO, which has no data set, is accepted in these."""

TRANSFER_SYNTAXES: tuple[uid.UID, ...] = (
    *UNCOMPRESSED,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.UID("1.2.840.10008.1.2.4.53"),  # retired: JPEG Spectral Selection, Non-Hierarchical (Process 6 & 8)
    uid.UID("1.2.840.10008.1.2.4.55"),  # retired: JPEG Full Progression, Non-Hierarchical (Process 10 & 12)
)
"""Encodings that ``volumes`` decodes. Of several in one presentation context the first in this order is taken:
uncompressed where the sender can, because nothing can be lost or fail in decoding then."""
