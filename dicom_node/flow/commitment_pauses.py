"""When a report of storage commitment is tried again: a pure function."""

FIRST_S = 5.0
LONGEST_S = 600.0
MOST_DOUBLINGS = 10
"""Beyond the longest pause by far."""


def pause_s(tries: int) -> float:
    """Pause before the attempt after ``tries`` failed ones: doubling, bounded."""
    return min(FIRST_S * 2.0 ** min(tries - 1, MOST_DOUBLINGS), LONGEST_S)
