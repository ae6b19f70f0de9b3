"""Says when the speed that a node offered is wrong by so much that it should offer again."""

from __future__ import annotations

from collections import deque
from statistics import median

ROUNDS_LAST = 3  # whose steps tell how fast this node is
REOFFER_TIMES = 1.5  # times faster or slower than it offered,
REOFFER_ROUND_S = 0.5  # and by so much in a round: less changes no plan (`rounds.SLACK_MIN_S`)


class OfferedSpeed:
    """Compares the seconds of a step that were offered with those of the last rounds.

    The first measurement may be wrong, for example where all nodes of a machine got ready at once; plans
    would then give this node too few steps all the time.
    """

    def __init__(self, steps: int) -> None:
        """`steps` are those of a usual round."""
        self._steps = steps
        self.offered_s = 0.0  # 0: nothing was offered yet
        self._lately_s: deque[float] = deque(maxlen=ROUNDS_LAST)  # since the offer

    def offered(self, step_s: float) -> None:
        """An offer with this speed was made."""
        self.offered_s = step_s
        self._lately_s.clear()

    def trained(self, step_s: float) -> float | None:
        """A round was trained at this speed; the speed to offer now, or None when the offer still holds."""
        self._lately_s.append(step_s)
        found_s, offered_s = median(self._lately_s), self.offered_s
        if len(self._lately_s) < ROUNDS_LAST or not offered_s:
            return None
        times = max(found_s / offered_s, offered_s / found_s)
        off_s = abs(found_s - offered_s) * self._steps
        return found_s if times > REOFFER_TIMES and off_s > REOFFER_ROUND_S else None
