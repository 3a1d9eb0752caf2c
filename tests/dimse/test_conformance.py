"""The conformance statement against live associations: what it says is accepted is, and nothing else."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import islice, product
from pathlib import Path

from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, UID_dictionary
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from dicom_node.association.contexts import VERIFICATION
from dicom_node.commands.statement import conformance_statement
from dicom_node.delivery import DimseDestination
from dicom_node.records import ResultKind
from dicom_node.results import write_results
from dicom_node.settings import DestinationSettings, ScpSettings
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, kept, slice_uid
from tests.unit.results.result_requests import make_request, with_embolism

Connect = Callable[..., Association]
Pair = tuple[str, str]
CONTEXTS_AN_ASSOCIATION = 128
ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 3, 4
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
NOT_STATED_CLASS = "1.2.840.10008.5.1.4.34.7"


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of the statement."""
    below = conformance_statement().split(f"# {heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


SYNTAXES = [uid for _, uid in rows("Presentation contexts accepted")]
SCP_CLASSES = [row[1] for row in rows("Conformance statement overview") if row[3] == "yes"]
STORAGE_CLASSES = [uid for uid in SCP_CLASSES if uid != VERIFICATION]
PROPOSED = {(row[1], row[3]) for row in rows("Presentation contexts proposed")}


def known_uids(kind: str) -> list[str]:
    return [uid for uid, (_, its_kind, *_) in UID_dictionary.items() if its_kind == kind]


def answers(connect: Connect, port: int, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, int]]:
    """The result of each presentation context, asked for in as many associations as they need."""
    left = iter(pairs)
    while batch := list(islice(left, CONTEXTS_AN_ASSOCIATION)):
        association = connect(port, *batch)
        for context in (*association.accepted_contexts, *association.rejected_contexts):
            assert context.context_id is not None
            assert context.result is not None
            yield batch[context.context_id // 2], context.result
        if association.is_established:
            association.release()


def test_every_context_stated_is_accepted(receiver: Receiver, connect: Connect) -> None:
    stated = list(product(STORAGE_CLASSES, SYNTAXES)) + [(VERIFICATION, syntax) for syntax in SYNTAXES[:4]]
    assert "Verification SOP Class in the first 4 of them" in conformance_statement()
    results = dict(answers(connect, receiver.port, stated))
    assert results == dict.fromkeys(stated, 0)


def test_no_sop_class_but_those_stated_is_accepted(receiver: Receiver, connect: Connect) -> None:
    others = [(uid, ExplicitVRLittleEndian) for uid in known_uids("SOP Class") if uid not in SCP_CLASSES]
    assert len(others) > 200
    results = dict(answers(connect, receiver.port, others))
    assert results == dict.fromkeys(others, ABSTRACT_SYNTAX_NOT_SUPPORTED)


def test_no_transfer_syntax_but_those_stated_is_accepted(receiver: Receiver, connect: Connect) -> None:
    others = [(CTImageStorage, uid) for uid in known_uids("Transfer Syntax") if uid not in SYNTAXES]
    others += [(VERIFICATION, uid) for uid in SYNTAXES[4:]]
    assert len(others) > 40
    results = dict(answers(connect, receiver.port, others))
    assert results == dict.fromkeys(others, TRANSFER_SYNTAXES_NOT_SUPPORTED)


def test_of_several_transfer_syntaxes_the_first_stated_is_taken(receiver: Receiver) -> None:
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(CTImageStorage, SYNTAXES[::-1])
    association = ae.associate("127.0.0.1", receiver.port, ae_title=OUR_AE)
    try:
        assert [context.transfer_syntax[0] for context in association.accepted_contexts] == SYNTAXES[:1]
    finally:
        association.release()


def test_negotiation_is_as_stated(receiver: Receiver) -> None:
    window, identity = AsynchronousOperationsWindowNegotiation(), UserIdentityNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"someone", True
    role, extended = SCP_SCU_RoleSelectionNegotiation(), SOPClassExtendedNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CTImageStorage, True, True
    extended.sop_class_uid, extended.service_class_application_information = CTImageStorage, b"\x02"
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", receiver.port, ae_title=OUR_AE, ext_neg=[window, identity, role, extended])
    assert association.is_established
    node = association.acceptor
    try:
        assert node.asynchronous_operations == (1, 1)
        assert (node.user_identity, node.role_selection, node.sop_class_extended) == (None, {}, {})
        stated = dict(rows("Identification and negotiation"))
        assert node.implementation_class_uid == stated["Implementation Class UID"]
        assert node.implementation_version_name == stated["Implementation Version Name"]
        assert str(node.maximum_length) == stated["Maximum PDU offered, as SCP (bytes)"]
        assert ScpSettings().ae_title == stated["AE title, as SCP and towards destinations"]
    finally:
        association.release()


def test_one_association_too_many_is_rejected_as_stated(
    start_receiver: Callable[..., Receiver], connect: Connect
) -> None:
    receiver = start_receiver(maximum_associations=1)
    connect(receiver.port)
    answer = connect(receiver.port).acceptor.primitive
    assert answer is not None
    rejection = (answer.result, answer.result_source, answer.diagnostic)
    assert rejection == LOCAL_LIMIT_EXCEEDED
    assert [str(number) for number in rejection] == rows("Association acceptance")[2][1:]


def test_a_message_in_a_rejected_context_aborts_the_association(receiver: Receiver, connect: Connect) -> None:
    association = connect(
        receiver.port, (CTImageStorage, ExplicitVRLittleEndian), (NOT_STATED_CLASS, ExplicitVRLittleEndian)
    )
    (rejected,) = association.rejected_contexts
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = UID(CTImageStorage)
    request.AffectedSOPInstanceUID = UID(slice_uid(1))
    request.DataSet = BytesIO(encoded_slice(1))
    assert rejected.context_id is not None
    association.dimse.send_msg(request, rejected.context_id)
    deadline = time.monotonic() + 10
    while association.is_established and time.monotonic() < deadline:
        time.sleep(0.02)
    assert association.is_aborted
    assert kept(receiver.spool) == []


def test_destinations_are_proposed_what_is_stated(tmp_path: Path) -> None:
    proposed: list[Pair] = []
    identities: set[tuple[str, str]] = set()

    def note(event: evt.Event) -> None:
        requestor = event.assoc.requestor
        identities.add((str(requestor.implementation_class_uid), str(requestor.implementation_version_name)))
        proposed.extend(
            (str(c.abstract_syntax), str(s)) for c in requestor.requested_contexts for s in c.transfer_syntax
        )

    archive = AE(ae_title="ARCHIVE")
    handlers = [(evt.EVT_REQUESTED, note), (evt.EVT_C_STORE, lambda _event: 0x0000)]
    both = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    archive.supported_contexts = [build_context(uid, both) for uid in {uid for uid, _ in PROPOSED}]
    server = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    try:
        settings = DestinationSettings(
            name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=server.server_address[1]
        )
        objects = write_results(with_embolism(make_request(tmp_path), lesions=True), tmp_path / "out")
        outcomes = list(DimseDestination(settings, calling_ae=OUR_AE).send(objects))
    finally:
        server.shutdown()
        server.server_close()
    assert all(outcome.accepted for outcome in outcomes)
    assert {one.kind for one in objects} == set(ResultKind)
    assert len(outcomes) == len(objects)
    assert len(proposed) == len(set(proposed))
    assert set(proposed) == PROPOSED
    stated = dict(rows("Identification and negotiation"))
    assert identities == {(stated["Implementation Class UID"], stated["Implementation Version Name"])}
