"""Association control PDUs: ours against pynetdicom's, and any bytes at all."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from benchmarks.raw_sender import associate_rq
from dicom_node.association.commands import Answer, Command, decode_command, encode_response, in_p_data
from dicom_node.association.negotiation import ContextResult, negotiate
from dicom_node.association.pdus import (
    ContextAnswer,
    decode_associate_rq,
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
)
from dicom_node.association.upper_layer import ProtocolFault
from dicom_node.records import Right
from dicom_node.uids import IMPLEMENTATION_CLASS_UID

CT = str(CTImageStorage)
REQUEST = associate_rq([(CT, ExplicitVRLittleEndian), ("1.2.3", "1.2.4")], called_ae="NODE", calling_ae="CT1")[6:]


def their_request() -> bytes:
    """An A-ASSOCIATE-RQ as pynetdicom writes it, with everything that we do not negotiate."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "CT1", "NODE"
    contexts = [build_context(CT, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    contexts[0].context_id = 1
    request.presentation_context_definition_list = contexts
    length, identity = MaximumLengthNotification(), UserIdentityNegotiation()
    length.maximum_length_received = 32768
    identity.user_identity_type, identity.primary_field = 1, b"someone"
    implementation, window = ImplementationClassUIDNotification(), AsynchronousOperationsWindowNegotiation()
    implementation.implementation_class_uid = "1.2.3.4"
    window.maximum_number_operations_invoked = 5
    request.user_information = [length, implementation, window, identity]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()[6:]


def test_request_of_pynetdicom_is_read() -> None:
    request = decode_associate_rq(their_request())
    assert (request.called_ae, request.calling_ae, request.maximum_length) == ("NODE", "CT1", 32768)
    (context,) = request.contexts
    assert (context.context_id, context.abstract_syntax) == (1, CT)
    assert context.transfer_syntaxes == (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def test_pynetdicom_reads_our_answers() -> None:
    request = decode_associate_rq(REQUEST)
    answers = (
        ContextAnswer(context_id=1, result=0, transfer_syntax=ExplicitVRLittleEndian),
        ContextAnswer(context_id=3, result=3),
    )
    accepted = A_ASSOCIATE_AC()
    accepted.decode(encode_associate_ac(request, answers, maximum_pdu=65536))
    read = [(context.context_id, context.result) for context in accepted.presentation_context]
    assert read == [(1, 0), (3, 3)]
    assert accepted.presentation_context[0].transfer_syntax == ExplicitVRLittleEndian
    user_information = accepted.user_information
    assert user_information is not None
    assert user_information.maximum_length == 65536
    assert user_information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    rejected = A_ASSOCIATE_RJ()
    rejected.decode(encode_associate_rj(2, 3, 2))
    assert (rejected.result, rejected.source, rejected.reason_diagnostic) == (2, 3, 2)
    assert encode_abort(2, 6) == bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 6))


def test_unprintable_titles_are_question_marks_and_go_back_unchanged() -> None:
    body = bytearray(REQUEST)
    body[4:20] = b"EVIL\n\x1b[31mNODE\xff "
    request = decode_associate_rq(bytes(body))
    assert request.called_ae == "EVIL??[31mNODE?"
    assert bytes(body[4:20]) in encode_associate_ac(request, (), maximum_pdu=4096)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(REQUEST[:67], id="cut in the fixed part"),
        pytest.param(REQUEST[:68], id="no items"),
        pytest.param(REQUEST[:-1], id="cut in the last item"),
        pytest.param(REQUEST + b"\x20\x00\xff\xff", id="an item of 64 KiB that is not there"),
        pytest.param(REQUEST.replace(b"\x20\x00", b"\x20\x00", 1)[:-3], id="cut"),
        pytest.param(REQUEST.replace(b"\x03\x00\x00\x00\x30", b"\x01\x00\x00\x00\x30"), id="context ID used twice"),
        pytest.param(REQUEST.replace(b"\x03\x00\x00\x00\x30", b"\x04\x00\x00\x00\x30"), id="even context ID"),
        pytest.param(REQUEST.replace(b"\x51\x00\x00\x04", b"\x51\x00\x00\x03"), id="maximum length of three bytes"),
    ],
)
def test_malformed_requests_are_faults_in_our_words(body: bytes) -> None:
    with pytest.raises(ProtocolFault) as caught:
        decode_associate_rq(body)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 64


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(REQUEST) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(REQUEST)),
    st.binary(max_size=40),
)
@example([], len(REQUEST), b"")
def test_any_request_is_read_or_a_fault(changes: list[tuple[int, int]], cut: int, more: bytes) -> None:
    body = bytearray(REQUEST)
    for position, value in changes:
        body[position] = value
    try:
        request = decode_associate_rq(bytes(body[:cut]) + more)
    except ProtocolFault:
        return
    assert request.called_ae.isascii()
    assert len(request.called_ae) <= 16
    assert all(len(context.abstract_syntax) <= 65 for context in request.contexts)
    answers, accepted = negotiate(request.contexts, offered=set(Right), rights=set(Right))
    assert len(answers) == len(request.contexts)
    assert encode_associate_ac(request, answers, maximum_pdu=4096)[0] == 2
    assert {answer.context_id for answer in answers if answer.result == 0} == set(accepted)


def test_rights_and_services_decide_about_contexts() -> None:
    request = decode_associate_rq(
        associate_rq(
            [
                (CT, "1.2.840.10008.1.2.4.100"),
                (CT, ImplicitVRLittleEndian),
                ("1.2.840.10008.1.20.1", ImplicitVRLittleEndian),
            ],
            called_ae="NODE",
            calling_ae="CT1",
        )[6:]
    )

    def results(offered: set[Right], rights: set[Right]) -> list[int]:
        return [answer.result for answer in negotiate(request.contexts, offered=offered, rights=rights)[0]]

    syntaxes, abstract = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert results(set(Right), set(Right)) == [syntaxes, 0, 0]
    assert results({Right.STORE}, set(Right)) == [syntaxes, 0, abstract]
    assert results(set(Right), {Right.COMMIT}) == [ContextResult.USER_REJECTION, ContextResult.USER_REJECTION, 0]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from([0x0002, 0x0100, 0x0110, 0x0800, 0x1000, 0x1008]), st.binary(max_size=70)
        ),
        max_size=8,
    ),
    st.binary(max_size=12),
)
def test_any_command_set_is_read_or_a_fault(elements: list[tuple[int, int, bytes]], more: bytes) -> None:
    encoded = b"".join(struct.pack("<HHI", group, tag, len(value)) + value for group, tag, value in elements)
    try:
        command = decode_command(encoded + more)
    except ProtocolFault:
        return
    assert len(command.class_uid) <= 65
    assert command.instance_uid.isascii()
    # What we answer is a command set again, whatever was asked.
    answered = decode_command(encode_response(command, Answer(status=0xC000, comment="why")))
    assert answered.field == command.field | 0x8000


def test_responses_fit_the_smallest_pdus() -> None:
    command = Command(field=1, message_id=7, class_uid=CT, instance_uid="1.2.3", action_type=None, has_data_set=True)
    response = encode_response(command, Answer(status=0))
    for maximum in (0, 1, 64, 100, 16384):
        pdus = in_p_data(5, response, peer_maximum=maximum)
        joined, lasts = b"", []
        while pdus:
            length = int.from_bytes(pdus[2:6], "big")
            assert length <= (max(maximum, 64) if maximum else len(response) + 6)
            assert pdus[10] == 5
            lasts.append(pdus[11])
            joined, pdus = joined + pdus[12 : 6 + length], pdus[6 + length :]
        assert joined == response
        assert lasts == [1] * (len(lasts) - 1) + [3]
