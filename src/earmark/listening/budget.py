"""A limit on the clips or alerts in an hour."""

from collections import deque

from earmark.inference.events import SECONDS_PER_HOUR


class Budget:
    """A limit on clips or alerts in any 60 minutes; the first ones are taken.

    >>> budget = Budget(1)
    >>> budget.take(0.0), budget.take(10.0), budget.take(3600.0)
    (True, False, True)

    Args:
        per_hour: Maximum number in 60 minutes; None for no limit.
    """

    def __init__(self, per_hour: int | None) -> None:
        self._per_hour = per_hour
        self._taken: deque[float] = deque()

    def take(self, seconds: float) -> bool:
        """Whether one is left at this time; if so, it is taken."""
        if self._per_hour is None:
            return True
        while self._taken and seconds - self._taken[0] >= SECONDS_PER_HOUR:
            self._taken.popleft()
        if len(self._taken) >= self._per_hour:
            return False
        self._taken.append(seconds)
        return True

    def give_back(self) -> None:
        """Cancels the latest `take`.

        >>> budget = Budget(1)
        >>> budget.take(0.0), budget.give_back(), budget.take(10.0)
        (True, None, True)
        """
        if self._taken:
            self._taken.pop()
