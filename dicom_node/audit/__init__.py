"""The audit trail: security events as DICOM audit messages (PS3.15 A.5), in files and over syslog TLS.

``events`` says what happened, ``message`` writes it as XML, ``trail`` takes it without ever holding anybody up,
``files`` and ``syslog`` are where it goes. Patients are never named: see ``events``. Knows no association and no job.
"""

from dicom_node.audit.events import AuditEvent, Node
from dicom_node.audit.files import AuditFiles
from dicom_node.audit.syslog import Syslog
from dicom_node.audit.trail import AuditTrail, Sink

__all__ = ["AuditEvent", "AuditFiles", "AuditTrail", "Node", "Sink", "Syslog"]
