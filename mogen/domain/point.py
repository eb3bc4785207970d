"""Points: a tuple of real numbers as a candidate, for synthetic problems."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mogen.errors import CandidateError


@dataclass(frozen=True)
class Point:
    """A real vector by its canonical text, for example "-1.0 0.25"; build one from numbers with `Point.of`.

    Every number is written as Python's shortest text that reads back the same float64, and zero has no sign.
    """

    text: str

    @property
    def key(self) -> str:
        """The coordinates, separated by single spaces."""
        return self.text

    @cached_property
    def coordinates(self) -> tuple[float, ...]:
        """The numbers; raises `CandidateError` where the text has none."""
        try:
            return tuple(float(word) for word in self.text.split())
        except ValueError as error:
            raise CandidateError(f"expected numbers separated by spaces in a point, got {self.text!r}") from error

    def __reduce__(self) -> tuple[type[Point], tuple[str]]:
        return Point, (self.text,)

    @classmethod
    def of(cls, coordinates: Iterable[float]) -> Point:
        """The point with these coordinates; raises `CandidateError` where one is not finite."""
        return cls(" ".join(number_text(value) for value in coordinates))


def number_text(value: float) -> str:
    """The canonical text of one coordinate."""
    number = float(value) + 0.0  # no negative zero
    if not math.isfinite(number):
        raise CandidateError(f"expected finite coordinates in a point, got {number}")
    return repr(number)
