"""The sections on the network: services, associations, statuses, configuration, security."""

from itertools import pairwise

from dicom_node.association import association, commands, contexts, deadlines, places, policy
from dicom_node.commands.statement.markdown import bullets, hexadecimal, section, subsection, table, uid_name
from dicom_node.commands.statement.settings_table import default, settings_table
from dicom_node.delivery import dimse, folder, status
from dicom_node.delivery.fallbacks import FALLBACKS
from dicom_node.delivery.status import Meaning
from dicom_node.errors import StoreStatus
from dicom_node.headers import elements, facts, part10
from dicom_node.results import BUILDERS
from dicom_node.results.part10 import TRANSFER_SYNTAX
from dicom_node.settings import CompletenessSettings, DestinationSettings, ScpSettings
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_STATUSES = 0x10000
"""A status is an unsigned short."""


def overview() -> str:
    """What the node is, and its services in one table."""
    made = [str(builder.sop_class_uid) for builder in BUILDERS]
    taken = [str(uid) for uid in (*contexts.ANALYSED_CLASSES, *contexts.STORED_CLASSES)]
    rows = [[uid_name(contexts.VERIFICATION), contexts.VERIFICATION, "yes", "yes", "answered, and asked by `echo`"]]
    for uid in dict.fromkeys([*taken, *made]):
        use = "analysed" if uid in contexts.ANALYSED_CLASSES else "stored" if uid in taken else ""
        rows.append(
            [
                uid_name(uid),
                uid,
                "yes" if uid in made else "",
                "yes" if uid in taken else "",
                ", ".join(filter(None, [use, "made" if uid in made else ""])),
            ]
        )
    return section(
        "Conformance statement overview",
        "The node receives CT studies by C-STORE, analyses chest CT, and sends a segmentation, a structured report and "
        "a picture to every configured destination by C-STORE. It has one application entity, which is SCP towards "
        "modalities and archives and SCU towards destinations.",
        table(["SOP class", "UID", "SCU", "SCP", "what becomes of it"], rows),
        "To peers with a configured address it is SCP of storage commitment.",
        "Instances are also taken by STOW-RS and from folders of Part 10 files. No other DICOMweb service, no media "
        "service.",
    )


def identification() -> str:
    """What the node calls itself in every association."""
    rows = [
        ["Implementation Class UID", IMPLEMENTATION_CLASS_UID],
        ["Implementation Version Name", IMPLEMENTATION_VERSION_NAME],
        ["AE title, as SCP and towards destinations", default(ScpSettings, "ae_title")],
        ["AE title of `dicom-node send`", folder.CALLING_AE],
        ["Maximum PDU offered, as SCP (bytes)", default(ScpSettings, "maximum_pdu_bytes")],
        ["Maximum PDU offered, as SCU (bytes)", str(dimse.MAXIMUM_PDU_BYTES)],
        ["Asynchronous operations", "not negotiated: one operation at a time in an association"],
        ["SCP/SCU role selection", "not negotiated: the requestor is SCU, the acceptor SCP"],
        ["SOP class extended negotiation", "not negotiated"],
        ["User identity", "not asked for and not answered; it admits nobody and rejects nobody"],
    ]
    return section("Identification and negotiation", table(["item", "value"], rows))


def acceptance() -> str:
    """Who may associate, and how the others are answered."""
    user = (policy.REJECTED_PERMANENT, policy.SOURCE_SERVICE_USER)
    rows = [
        ["called AE title is not the node's", *_rejection(*user, policy.RejectReason.CALLED_AE_NOT_RECOGNISED)],
        [
            "calling AE title is no configured peer, or a peer's from an address that is not its own, or without the "
            "certificate that belongs to it; "
            "without configured peers: an address that is not the machine's own",
            *_rejection(*user, policy.RejectReason.CALLING_AE_NOT_RECOGNISED),
        ],
        [
            f"more than `maximum_associations` ({default(ScpSettings, 'maximum_associations')}) at once, or more than "
            f"`maximum_associations_per_peer` ({default(ScpSettings, 'maximum_associations_per_peer')}) of one AE "
            "title at one address",
            *_rejection(*policy.LOCAL_LIMIT_EXCEEDED),
        ],
        [
            "the application context name is not that of DICOM",
            *_rejection(*association.APPLICATION_CONTEXT_NOT_SUPPORTED),
        ],
        ["bit 0 of the protocol version is not set", *_rejection(*association.VERSION_NOT_SUPPORTED)],
    ]
    return section(
        "Association acceptance",
        "AE titles compare upper and lower case apart, without leading and trailing spaces (PS3.5 section 6.2).",
        table(["rejected because", "result", "source", "reason"], rows),
        bullets(
            f"The association request must be complete {_seconds('association_timeout_s')} after the TCP connection, "
            f"the TLS handshake included, and hold at most {association.MAXIMUM_REQUEST_BYTES // 1024} KiB; else the "
            "connection is closed.",
            f"An association that is silent between messages for {_seconds('network_timeout_s')}, or within a message "
            f"for {_seconds('transfer_timeout_s')}, is aborted; so is one that takes longer than the latter for one "
            "PDU or for reading a response, and one whose message, after that time, brings fewer than "
            f"{deadlines.SLOWEST_BYTES // 1024} KiB in each further such time.",
            "Aborted with source 2 (service provider) are associations that break PS3.8: a PDU longer than the maximum "
            "announced, of an unknown type (reason 1) or at the wrong time (reason 2); a message in a presentation "
            "context that was not accepted; a command set that cannot be read. Time-outs and the end of the node abort "
            "with source 0.",
            f"{places.MAXIMUM_WAITING} connections without association are held; beyond them, the oldest one of the "
            "address that has the most is closed. They take no places of associations.",
        ),
    )


def storage_scp() -> str:
    """What is accepted, and how every instance is answered."""
    return section("Storage and verification as SCP", _accepted(), _statuses(), _behaviour())


def _accepted() -> str:
    return subsection(
        "Presentation contexts accepted",
        "Every storage SOP class that the overview marks SCP, in each of these transfer syntaxes. Of several in one "
        "presentation context the first in this order is taken.",
        table(["transfer syntax", "UID"], [[uid_name(uid), str(uid)] for uid in contexts.TRANSFER_SYNTAXES]),
        f"{uid_name(contexts.VERIFICATION)} in the first {len(contexts.UNCOMPRESSED)} of them. Other SOP classes are "
        "answered with result 3, other transfer syntaxes with result 4 (PS3.8 table 9-18).",
    )


def _statuses() -> str:
    return subsection(
        "Statuses answered to C-STORE",
        table(["status", "meaning"], [[hexadecimal(one), one.meaning] for one in StoreStatus]),
        f"Every failure carries an Error Comment (0000,0902) of at most {commands.COMMENT_CHARACTERS} characters, "
        "without patient identifiers. The association goes on.",
    )


def _behaviour() -> str:
    return subsection(
        "Behaviour",
        bullets(
            "Level 2 (full) storage (PS3.4 section B.4.1): the data set is kept byte for byte, private attributes and "
            "signatures included; nothing is coerced, nothing is converted.",
            "Success is answered when the instance is durable. The same instance again is answered success and kept "
            "once.",
            "A request without Message ID, or without its data set, is answered 0212; an operation that its "
            "presentation context does not have, 0211. C-CANCEL is ignored. Requests that are sent ahead "
            "are answered one after the other.",
            "The whole data set is walked before it is taken: one that is cut off, whose pixel data is shorter than "
            "rows, columns, frames, samples and bits say, or encoded otherwise than its transfer syntax says, is "
            "refused (C000). Pixels are not decoded for that.",
            f"Limits of a data set: {elements.MAXIMUM_ELEMENTS:,} elements and items, {elements.MAXIMUM_DEPTH} nested "
            f"sequences and items, {facts.MAXIMUM_FRAMES:,} frames, "
            f"{part10.MAXIMUM_INFLATED_BYTES // 2**20} MiB where it comes deflated.",
            "A study is complete when every series has been quiet for "
            f"{default(CompletenessSettings, 'settle_s')} s and no association that sent to it is open; one that is "
            f"silent for {default(CompletenessSettings, 'stale_after_s')} s no longer counts.",
        ),
    )


def storage_scu() -> str:
    """What is proposed to destinations, and what their answers mean."""
    proposed = [
        [uid_name(made), made, uid_name(syntax), syntax]
        for made in dict.fromkeys(str(builder.sop_class_uid) for builder in BUILDERS)
        for syntax in dimse.offered_syntaxes(str(TRANSFER_SYNTAX))
    ]
    return section(
        "Storage and verification as SCU",
        subsection(
            "Presentation contexts proposed",
            table(["SOP class", "UID", "transfer syntax", "UID"], proposed),
            "One association an attempt, with a presentation context for each line whose object is to be sent. "
            f"`dicom-node echo` proposes {uid_name(contexts.VERIFICATION)} in Implicit VR Little Endian. "
            "`dicom-node send` proposes what the files of a folder hold, in their own transfer syntax, at most "
            f"{folder.PAIRS_AN_ASSOCIATION} kinds an association.",
        ),
        subsection(
            "Answers of a destination",
            table(["answer", "what the node does"], _answers()),
            "Where no presentation context is accepted for an object, it counts as not taken, like 0122. Attempts are "
            f"repeated after {default(DestinationSettings, 'retry_first_s')} s, doubling up to "
            f"{default(DestinationSettings, 'retry_longest_s')} s, for "
            f"{default(DestinationSettings, 'retry_for_hours')} hours; what was accepted is not sent again. Every "
            "destination has attempts of its own.",
        ),
        subsection(
            "Objects whose SOP class a destination does not take",
            table(["not taken", "sent in its place"], [[one.value, by.value] for one, by in FALLBACKS.items()]),
            "Kinds as in `destinations.results`. What the destination gets anyway is not sent again; where it does not "
            "take the other object either, what stands in for that one is sent. "
            "Where nothing is left, the study counts as failed.",
        ),
    )


def _answers() -> list[list[str]]:
    done = {
        Meaning.ACCEPTED: f"the destination has it; other than {hexadecimal(status.SUCCESS)} is logged as a warning",
        Meaning.LATER: "tries again, see below",
        Meaning.UNSUPPORTED: "sends what stands in for the object, see below",
        Meaning.REFUSED: "gives up; an operator may ask for a retry",
    }
    groups: dict[Meaning, list[str]] = {one: [] for one in Meaning}
    known = [code for code in range(_STATUSES) if status.meaning(code) is not Meaning.REFUSED]
    starts = [known[0], *(after for before, after in pairwise(known) if not _together(before, after))]
    for start in starts:
        end = start
        while end + 1 in known and _together(end, end + 1):
            end += 1
        span = hexadecimal(start) if start == end else f"{hexadecimal(start)}-{hexadecimal(end)}"
        groups[status.meaning(start)].append(span)
    groups[status.meaning(None)].append("no answer, abort, rejection, no connection")
    groups[Meaning.REFUSED].append("every other status")
    return [[", ".join(groups[one]), done[one]] for one in Meaning]


def _together(before: int, after: int) -> bool:
    return after == before + 1 and status.meaning(before) is status.meaning(after)


def configuration() -> str:
    """What an operator may change."""
    return section(
        "Configuration",
        settings_table("scp", ScpSettings),
        settings_table("completeness", CompletenessSettings),
        settings_table("destinations", DestinationSettings),
        "A setting without a default must be given. Units stand in the names; the operator's guide and "
        "config/node.toml say what each is for.",
    )


def not_supported() -> str:
    """What peers may look for in vain."""
    return section(
        "Not supported",
        bullets(
            "Storage commitment as SCU; as SCP, reports on the association of the request.",
            "Query/retrieve (C-FIND, C-MOVE, C-GET), modality worklist, MPPS, instance availability notification, "
            "unified procedure step, print.",
            "DICOMweb (PS3.18) other than STOW-RS; media (PS3.11). `receive` reads Part 10 files, `infer` reads and "
            "writes them.",
            "User identity, asynchronous operations.",
        ),
    )


def _rejection(result: int, source: int, reason: int) -> list[str]:
    return [str(result), str(source), str(reason)]


def _seconds(name: str) -> str:
    return f"{default(ScpSettings, name)} s (`{name}`)"
