"""The DICOM conformance statement (PS3.2) as Markdown, in the order of the standard's template, in short.

Owns sentences and layout. Every number, UID, code and list is read from the constant that the node itself uses, so the
statement cannot say anything else than the node does; ``docs/conformance.md`` is this text, and a test says so.
Knows no settings file: it states the built-in values and the limits of what can be configured.
"""

from dicom_node.commands.statement import commitment, network, objects, other_doors, security, terminology

__all__ = ["conformance_statement"]

_SECTIONS = (
    network.overview,
    network.identification,
    network.acceptance,
    network.storage_scp,
    commitment.storage_commitment,
    other_doors.other_doors,
    network.storage_scu,
    network.configuration,
    objects.character_sets,
    security.security,
    objects.created_objects,
    objects.uids,
    terminology.standard_codes,
    terminology.private_scheme,
    network.not_supported,
)
"""The table of contents."""

_TITLE = """\
# DICOM conformance statement

Written by `dicom-node conformance` from the tables that the node runs on, and tested to equal them: do not edit, run
`dicom-node conformance > docs/conformance.md`. It follows the template of PS3.2 in short form. Values that can be
configured are the built-in ones. Research use only; not a medical device."""


def conformance_statement() -> str:
    """The whole statement, ending in one line end."""
    return "\n\n".join([_TITLE, *(section() for section in _SECTIONS)]) + "\n"
