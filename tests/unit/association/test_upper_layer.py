"""The state machine against the standard's table as pynetdicom has it, and against what must never happen."""

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from dicom_node.association.upper_layer import EVENT_OF_PDU, TRANSITIONS, Action, Event, PduKind, State

OURS = {(event.value, state.value): step for (state, event), step in TRANSITIONS.items()}
NEXT_STATE = {
    "AE-5": "Sta2", "AE-6": "Sta3", "AE-7": "Sta6", "AE-8": "Sta13", "DT-1": "Sta6", "DT-2": "Sta6", "AR-2": "Sta8",
    "AR-4": "Sta13", "AR-5": "Sta1", "AR-7": "Sta8", "AA-1": "Sta13", "AA-2": "Sta1", "AA-3": "Sta1", "AA-4": "Sta1",
    "AA-5": "Sta1", "AA-6": "Sta13", "AA-7": "Sta13", "AA-8": "Sta13",
}  # fmt: skip
"""PS3.8 tables 9-6 to 9-9: the last column."""


def test_every_transition_is_that_of_table_9_10() -> None:
    states, events = {state.value for state in State}, {event.value for event in Event}
    # A requestor's release collision and our own release are not ours to meet; Sta3 awaits nothing from a timer.
    table = {key: action for key, action in TRANSITION_TABLE.items() if key[0] in events and key[1] in states}
    assert {key: step.action.value for key, step in OURS.items()} == table


def test_every_action_leads_where_the_standard_says() -> None:
    assert {step.action.value: step.state.value for step in TRANSITIONS.values()} == NEXT_STATE
    assert {action.value for action in Action} == set(NEXT_STATE)


@pytest.mark.parametrize("state", [state for state in State if state is not State.STA1])
def test_no_pdu_and_no_lost_connection_finds_a_state_unprepared(state: State) -> None:
    for event in {*EVENT_OF_PDU.values(), Event.INVALID_PDU, Event.TRANSPORT_CLOSED}:
        assert (state, event) in TRANSITIONS
    assert TRANSITIONS[state, Event.TRANSPORT_CLOSED].state is State.STA1


def test_data_moves_in_an_established_association_only() -> None:
    moving = {state for (state, _), step in TRANSITIONS.items() if step.action is Action.DT_2}
    assert moving == {State.STA6}


def test_every_pdu_type_is_an_event() -> None:
    assert set(EVENT_OF_PDU) == set(PduKind)
    assert [kind.value for kind in PduKind] == [1, 2, 3, 4, 5, 6, 7]
