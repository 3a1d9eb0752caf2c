"""What C-STORE statuses mean: a table from PS3.4 table B.2-1 and PS3.7 Annex C."""

import pytest

from dicom_node.delivery.status import Meaning, meaning


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Meaning.ACCEPTED), (0xB000, Meaning.ACCEPTED), (0xB007, Meaning.ACCEPTED), (0x0107, Meaning.ACCEPTED),
        (None, Meaning.LATER), (0xA700, Meaning.LATER), (0xA7FF, Meaning.LATER), (0x0110, Meaning.LATER),
        (0x0213, Meaning.LATER), (0xA900, Meaning.UNSUPPORTED), (0xA9FF, Meaning.UNSUPPORTED),
        (0xC000, Meaning.REFUSED), (0xCFFF, Meaning.REFUSED),
        (0x0122, Meaning.UNSUPPORTED), (0x0117, Meaning.REFUSED), (0x0124, Meaning.REFUSED),
    ],
)  # fmt: skip
def test_meaning(status: int | None, expected: Meaning) -> None:
    assert meaning(status) is expected
