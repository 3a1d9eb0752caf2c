"""The sections on what comes otherwise than by C-STORE: STOW-RS, and files."""

from dicom_node.commands.statement.markdown import bullets, section, subsection, table
from dicom_node.commands.statement.settings_table import settings_table
from dicom_node.settings import StowSettings
from dicom_node.web import body, store_response, stow


def other_doors() -> str:
    """What is taken by HTTP and from folders, and how it is answered."""
    return section(
        "STOW-RS and files",
        "Instances also come as Part 10 files (PS3.10), by STOW-RS and by `dicom-node receive FOLDER`. The SOP "
        "classes, transfer syntaxes and limits are those of C-STORE; file meta information must name the SOP class, "
        "SOP instance and transfer syntax of the data set. Preamble and file meta information are not kept.",
        subsection(
            "STOW-RS (PS3.18 section 10.5)",
            bullets(
                "`POST /dicom-web/studies` and `POST /dicom-web/studies/{study}` on the web port, only where "
                "`web.stow` is configured. No other DICOMweb service.",
                'Request: `multipart/related; type="application/dicom"`. Metadata and bulk data (JSON, XML) are not '
                "taken.",
                f"Answer: the Store Instances Response Module as {_answers()}, as Accept wants it with its weights; "
                f"`{store_response.JSON_TYPE}` unless it says so. Retrieve URL is empty. Failure Reasons are the "
                "failure statuses of C-STORE.",
                "Every request carries the configured token (`Authorization: Bearer`). The node itself speaks no "
                "HTTPS: a proxy in front of it does.",
                "An instance under Referenced SOP Sequence is durable. Nothing is undone when the rest of a request "
                "fails.",
            ),
            table(["HTTP status", "meaning"], _http_statuses()),
            settings_table("web.stow", StowSettings),
        ),
    )


def _answers() -> str:
    return " or ".join(f"`{name}`" for name in store_response.MEDIA_TYPES)


def _http_statuses() -> list[list[str]]:
    return [
        ["200", "every instance is stored"],
        ["202", "some are stored; the answer says which are not, and why"],
        ["400", "no multipart message, one that is cut off, or no valid Study Instance UID in the address"],
        ["401", "the token is missing or wrong"],
        ["406", f"the sender accepts no {_answers()}"],
        [
            "408",
            f"less than {body.SLOWEST_BYTES // 1024} KiB in {body.PERIOD_S:g} s, or longer than {body.LONGEST_S:g} s",
        ],
        ["409", "none is stored; the answer says why"],
        ["413", "longer than `maximum_request_mb`, or more parts than `maximum_parts`"],
        ["415", "another media type, or a body with a content coding"],
        [
            "503",
            f"the disk is full (Retry-After {stow.RETRY_AFTER_S} s); too many requests at once, the node is stopping, "
            f"or the sender was silent or behind its pace for {stow.GIVE_WAY_S:g} s while all places were taken "
            f"({stow.RETRY_SOON_S} s); too many connections (without Retry-After)",
        ],
    ]
