"""Pauses after failures: doubling, up to a longest one. Never gives up.

Owns the arithmetic; the time is given to it. Kept in memory only: after a restart everything is tried at once.
"""

from __future__ import annotations


class Patience:
    """Pauses by key."""

    def __init__(self, *, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def failed(self, key: str, now_s: float) -> float:
        """Begin a pause, twice as long as the last one; answers its length."""
        failures = self._failures.get(key, 0)
        pause_s = min(self._first_s * 2.0 ** min(failures, 30), self._longest_s)
        self._failures[key] = failures + 1
        self._until[key] = now_s + pause_s
        return pause_s

    def is_over(self, key: str, now_s: float) -> bool:
        """Whether it may be tried (again)."""
        return now_s >= self._until.get(key, now_s)

    def forget(self, key: str) -> None:
        """It went well, or does not matter any more."""
        self._failures.pop(key, None)
        self._until.pop(key, None)
