"""TLS of everything the node says and hears: contexts after PS3.15 B.12, and what is wrong with certificates in words.

``contexts`` builds, ``credentials`` finds every mistake in the files before anybody connects, ``failures`` explains a
handshake that failed, ``renewal`` takes over new files. Knows settings and files; no DICOM, and no peer by name.
"""

from dicom_node.tls.contexts import client_context, server_context
from dicom_node.tls.credentials import Credentials, examine, examine_all
from dicom_node.tls.failures import certificate_names, explain
from dicom_node.tls.renewal import CertificateWatch

__all__ = [
    "CertificateWatch",
    "Credentials",
    "certificate_names",
    "client_context",
    "examine",
    "examine_all",
    "explain",
    "server_context",
]
