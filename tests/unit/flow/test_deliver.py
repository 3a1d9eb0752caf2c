"""What follows from a failed delivery: pauses, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.delivery.status import Meaning
from dicom_node.flow.deliver import pause_s, state_after
from dicom_node.records import DeliveryState
from dicom_node.settings import DestinationSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = DestinationSettings(
    name="pacs", ae_title="PACS", host="h", port=104, retry_for_hours=2, retry_first_s=5, retry_longest_s=60
)


@pytest.mark.parametrize(("tries", "pause"), [(0, 5), (1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60), (2000, 60)])
def test_pause_doubles_up_to_its_bound(tries: int, pause: float) -> None:
    assert pause_s(SETTINGS, tries) == pause


@pytest.mark.parametrize(
    ("meaning", "since", "state"),
    [
        (Meaning.LATER, None, DeliveryState.WAITING),
        (Meaning.LATER, NOW - timedelta(hours=1, minutes=59), DeliveryState.WAITING),
        (Meaning.LATER, NOW - timedelta(hours=2, minutes=1), DeliveryState.EXPIRED),
        (Meaning.REFUSED, None, DeliveryState.REFUSED),
        (Meaning.UNSUPPORTED, None, DeliveryState.UNSUPPORTED),
        (Meaning.ACCEPTED, NOW - timedelta(hours=3), DeliveryState.DELIVERED),
    ],
)
def test_state_after_an_attempt(meaning: Meaning, since: datetime | None, state: DeliveryState) -> None:
    assert state_after(meaning, settings=SETTINGS, first_try_at=since, now=NOW) is state
