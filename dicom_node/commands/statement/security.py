"""The section on security: TLS, who may do what, and the audit trail."""

from dicom_node.audit import codes, files, refusals, syslog, trail
from dicom_node.audit.codes import Code
from dicom_node.commands.statement.markdown import bullets, section, subsection, table
from dicom_node.commands.statement.settings_table import default
from dicom_node.records import Right
from dicom_node.settings import DEFAULT_SYSLOG_TLS_PORT, AuditSettings
from dicom_node.tls.contexts import CIPHERS

_MESSAGES: tuple[tuple[Code, tuple[Code, ...], str], ...] = (
    (
        codes.APPLICATION_ACTIVITY,
        (codes.APPLICATION_START, codes.APPLICATION_STOP),
        "the node starts, and stops in order",
    ),
    (
        codes.INSTANCES_TRANSFERRED,
        (),
        "an association that brought instances ended: one message a study for what is new (action C), one for what was "
        "held already with the same content (R); of results that were sent to a destination "
        "one for what it has, and one for what it has not",
    ),
    (codes.IMPORT, (), "`dicom-node receive` is through with the files of a study, or was ended before"),
    (codes.BEGIN_TRANSFERRING, (), "results of a study are about to be sent to a destination: every attempt"),
    (
        codes.SECURITY_ALERT,
        (codes.NODE_AUTHENTICATION,),
        "a TLS handshake failed, an association was rejected, or a STOW-RS request came without the token",
    ),
    (codes.SECURITY_ALERT, (codes.AUDIT_RECORDING_STOPPED,), "audit messages were lost; how many"),
)
"""Event ID, event type codes, trigger."""


def security() -> str:
    """What protects the network side, and what does not."""
    return section("Security", _tls(), _access(), _audit(), _absent())


def _tls() -> str:
    return subsection(
        "Secure transport",
        "Without `scp.tls` and `destinations.tls` nothing is encrypted. With them, associations follow the BCP 195 RFC "
        "8996, 9325 TLS Secure Transport Connection Profile (PS3.15 section B.12), as acceptor and as requestor.",
        bullets(
            "TLS 1.3 where the peer has it, TLS 1.2 else; nothing older. No compression, no renegotiation, no "
            "resumption of sessions.",
            f"Cipher suites of TLS 1.2, in this order: {', '.join(CIPHERS.split(':'))}.",
            "As acceptor: port `scp.port`, or `scp.tls.port` beside an unencrypted `scp.port` (IANA: 2762, dicom-tls). "
            "With `scp.tls.ca`, a peer without a valid certificate of it does not get past the handshake; without, "
            "peers are not authenticated.",
            "As requestor: the certificate of the peer is always verified, and its name unless "
            "`destinations.tls.check_name` is false. A handshake that fails is tried again like a destination that is "
            "away; its reason stands with the delivery.",
            "Certificate revocation lists are honoured where the CA file brings them; OCSP is not asked.",
        ),
    )


def _access() -> str:
    return subsection(
        "Access",
        "Associations are admitted by called AE title, calling AE title, and where configured the address or range of "
        "addresses of the peer and a name that its certificate must carry. Without configured peers only programs on "
        "the machine itself may associate.",
        "Presentation contexts of services that a peer has no right to are answered with result 1, user rejection "
        f"(PS3.8 table 9-18). Rights: {', '.join(f'`{right.value}`' for right in Right)}; all of them unless "
        "`scp.peers.rights` names fewer.",
    )


def _audit() -> str:
    rows = [[_said(event), ", ".join(map(_said, kinds)), trigger] for event, kinds, trigger in _MESSAGES]
    return subsection(
        "Audit trail",
        "Audit messages after PS3.15 section A.5, one a line, in files of the data folder, and with `audit.syslog` "
        "also by the SYSLOG-TLS profile (PS3.15 section A.6).",
        table(["event", "type", "sent when"], rows),
        bullets(
            "**The patient is left out**: no message has a participant object for the patient, though A.5.3.3, A.5.3.5 "
            "and A.5.3.7 ask for one. Studies are named by Study Instance UID, with the number of instances by SOP "
            "class, without SOP Instance UIDs.",
            "UserID of the node is its process ID; of a peer its AE title, else its address. AlternativeUserID has the "
            "AE title. AuditSourceID is the node's AE title and the name of its machine, AuditSourceTypeCode 4.",
            f"Alerts about one address are sent once in {refusals.WINDOW_S:g} s; the next one has the number of those "
            "between.",
            f"RFC 5424: PRI {syslog.PRIORITY}, APP-NAME {syslog.APPLICATION}, PROCID the process ID, MSGID "
            f"{syslog.MESSAGE_ID}, no STRUCTURED-DATA, MSG in UTF-8 with byte order mark. RFC 5425: port "
            f"{DEFAULT_SYSLOG_TLS_PORT} unless configured, TLS as above.",
            f"At most {default(AuditSettings, 'files')} files of {default(AuditSettings, 'file_mb')} MB; beyond them "
            f"the oldest is removed. `{files.CURRENT}` is the one being written.",
            f"Receiving and sending never wait for the trail: {trail.CAPACITY:,} messages wait for each place; what "
            "comes beyond is lost, counted and told.",
            "Instances that come by STOW-RS are audited like those of associations, with the address alone.",
            "An import names the account and the machine of whoever gave the command (the requestor), and as source "
            "media the machine that the folder is on; not the folder, because people name folders after patients.",
            "There is no DICOM Instances Accessed, Query or Export: the console and the JSON API show no patient's "
            "name, ID or birth date and no pixels, and the node answers no query and no retrieval. `infer` works on "
            "files that whoever gives the command can read anyway; it is not audited.",
        ),
    )


def _absent() -> str:
    return subsection(
        "Not there",
        bullets(
            "User identity, digital signatures, de-identification.",
            "Logs carry UIDs and AE titles, never a patient's name, ID or birth date.",
        ),
    )


def _said(code: Code) -> str:
    return f'({code.value}, {code.scheme}, "{code.meaning}")'
