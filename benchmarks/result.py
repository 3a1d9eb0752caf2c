"""One benchmark's outcome."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A ratio of two measurements of one run, or a figure in a unit, and the goal that it is held to."""

    name: str
    ratio: float
    goal: float
    detail: str
    unit: str = "x"

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.ratio <= self.goal

    def line(self) -> str:
        """For people."""
        verdict = "reached" if self.reached else "MISSED"
        return f"{self.name}: {self.ratio:.2f} {self.unit} (goal <= {self.goal} {self.unit}, {verdict}); {self.detail}"
