"""Coded values of audit messages (PS3.16 CID 400 to 405), as PS3.15 A.5.3 asks for them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: csd-code, codeSystemName, originalText."""

    value: str
    meaning: str
    scheme: str = "DCM"


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
IMPORT = Code("110107", "Import")
SECURITY_ALERT = Code("110113", "Security Alert")
"""Event IDs (CID 400)."""

APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
AUDIT_RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
"""Event type codes (CID 401 to 403)."""

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
SOURCE_MEDIA = Code("110155", "Source Media")
"""Roles of active participants (CID 402)."""

URI = Code("110037", "URI")
"""Kind of media (CID 405)."""

STUDY_UID = Code("110180", "Study Instance UID")
NODE_ID = Code("110182", "Node ID")
"""Kinds of participant object IDs (CID 404, 405)."""
