"""The section on storage commitment: what is promised, to whom, and how a request is answered."""

from dicom_node.association import commitment
from dicom_node.association.contexts import STORAGE_COMMITMENT, UNCOMPRESSED
from dicom_node.commands.statement.markdown import bullets, hexadecimal, section, subsection, table, uid_name
from dicom_node.commands.statement.settings_table import default, settings_table
from dicom_node.flow import commitment_pauses
from dicom_node.settings import CommitmentSettings


def storage_commitment() -> str:
    """The Storage Commitment Push Model (PS3.4 Annex J), as SCP."""
    return section(
        "Storage commitment as SCP",
        f"{uid_name(STORAGE_COMMITMENT)} ({STORAGE_COMMITMENT}), where `commitment` of at least one peer is "
        f"configured; in the first {len(UNCOMPRESSED)} transfer syntaxes above.",
        subsection(
            "What is promised",
            bullets(
                "An instance is committed when the node holds it durably, under the SOP class of the request, and "
                "has just read it back from its disk with the digest (XXH3, 128 bits) that it was received with.",
                "The node does not delete instances. What it has committed to it keeps until a person removes it "
                "from the spool on purpose. It keeps one copy, on one disk: backups are the operator's. It offers "
                "no query and no retrieval, so no Retrieve AE Title is given.",
            ),
        ),
        subsection(
            "Answers to N-ACTION",
            table(["status", "meaning"], [[hexadecimal(one), one.meaning] for one in commitment.ActionStatus]),
        ),
        subsection(
            "Reports",
            bullets(
                "N-EVENT-REPORT on an association of its own, to the address that is configured for the peer's AE "
                "title, never to another; there the node proposes the SCP role for itself. Event Type 1 where every "
                "instance is committed, else 2.",
                f"A peer that does not take the report is tried again after {commitment_pauses.FIRST_S:g} s, "
                f"doubling up to {commitment_pauses.LONGEST_S:g} s, for "
                f"{default(CommitmentSettings, 'retry_for_hours')} hours; also over a restart of the node. A crash "
                "in the moment of a report can repeat it.",
                "The same request again while its report is due is answered success and reported once; after the "
                "report it is judged and reported again.",
            ),
            table(
                ["Failure Reason", "meaning"],
                [[hexadecimal(one), one.meaning] for one in commitment.FailureReason],
            ),
            settings_table("scp.peers.commitment", CommitmentSettings),
        ),
    )
