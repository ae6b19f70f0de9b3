"""Keeps account of what a node uses, and of which job is charged with it.

A job's update says what the node used since the job's update before: waiting, training and radio.  What
another job was charged with meanwhile is not charged again.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator

from muster.node.energy.meters import Meter
from muster.node.energy.presets import Radio
from muster.node.energy.radio import RadioModel
from muster.protocol.ids import JobId
from muster.protocol.parts import Power
from muster.protocol.validation.limits import MILLIJOULES_MAX, WATTS_MAX

JOBS_MAX = 128
FORGET_S = 600.0  # of idling or training, after which older measurements count half


class _Mean:
    """Mean watts of one of the two states."""

    def __init__(self) -> None:
        self.joules = self.seconds = 0.0

    def add(self, joules: float, seconds: float) -> None:
        if self.seconds > FORGET_S:
            self.joules, self.seconds = self.joules / 2, self.seconds / 2
        self.joules, self.seconds = self.joules + joules, self.seconds + seconds

    def watts(self, settles_s: float) -> float | None:
        """To two digits, so that it does not tremble; None before it is settled."""
        if not self.seconds or self.seconds < settles_s:
            return None
        return min(WATTS_MAX, float(f"{self.joules / self.seconds:.2g}"))


class EnergyAccount:
    """Owns a node's meter and counts what it shows; without a meter all is 0 and nothing is made up."""

    def __init__(
        self,
        meter: Meter | None = None,
        radio: Radio | None = None,
        *,
        now: Callable[[], float] = lambda: 0.0,
        traffic: Callable[[], tuple[int, int]] = lambda: (0, 0),
        said: str = "nothing here measures energy",
    ) -> None:
        """`traffic` gives all bytes that the node sent and received so far; `said` is a sentence on where the
        figures come from."""
        self._meter, self.said = meter, said
        self._now, self._traffic = now, traffic
        self._radio = RadioModel(radio or Radio(), now())
        self._looked_s = now()
        self._computing: list[float] = []  # shares of the time, of all that compute now
        self._means = {False: _Mean(), True: _Mean()}  # by whether the node trained
        self._marks: OrderedDict[JobId, float] = OrderedDict()  # of what was open, all below is not the job's
        self._used_j = self._charged_j = 0.0  # since the start; to all jobs
        self.untold_s = 0.0  # in which the meter could not tell, such as while a battery was charged

    @property
    def measures(self) -> bool:
        return self._meter is not None

    def look(self) -> None:
        """Count what was used up to now; also called now and then, so that a counter wraps once at most."""
        if self._meter is None:
            return
        now_s, training = self._now(), self._training()
        elapsed_s = now_s - self._looked_s
        if elapsed_s <= 0:
            return
        self._looked_s = now_s
        used_j = self._meter.used_j(elapsed_s, training)
        if used_j is None:
            self.untold_s += elapsed_s
        else:
            self._means[training > 0].add(used_j, elapsed_s)
            self._used_j += used_j
        self._used_j += self._radio.used_j(now_s, *self._traffic())

    def _training(self) -> float:
        """How much of the time the trainer computes now, 0..1."""
        return max(self._computing, default=0.0)

    @contextlib.contextmanager
    def computing(self, share: float = 1.0) -> Iterator[None]:
        """The trainer computes meanwhile, so much of the time."""
        self.look()
        self._computing.append(share)
        try:
            yield
        finally:
            self.look()
            self._computing.remove(share)

    def used_j(self) -> float:
        """Joules since the node started."""
        self.look()
        return self._used_j

    def power(self, share: float = 1.0) -> Power | None:
        """What this node draws, where its trainer computes so much of the time; None while its meter has not
        seen it idle and training."""
        self.look()
        idle_w, train_w = self._watts(0.0), self._watts(share)
        if idle_w is None or train_w is None:
            return None
        radio = self._radio.radio
        train_w = max(idle_w, train_w)  # as measured beside other programs it may look less
        return Power(
            round(idle_w, 3), round(train_w, 3), radio.sent_j_byte, radio.received_j_byte, radio.exchange_j
        )

    def now_w(self) -> float | None:
        """Watts that the node draws as it is now, idle or training, without its radio."""
        return self._watts(self._training())

    def _watts(self, training: float) -> float | None:
        if self._meter is None:
            return None
        if self._meter.settles_s == 0:
            return self._meter.used_j(1.0, training)
        return self._means[training > 0].watts(self._meter.settles_s)

    # ---- which job is charged -------------------------------------------------------------------------

    def begin(self, job: JobId) -> None:
        """This node works for a job: what it uses from now on is due in the job's next update."""
        if job not in self._marks:
            self._marks[job] = self._open_j()
            if len(self._marks) > JOBS_MAX:
                self._marks.popitem(last=False)

    def _open_j(self) -> float:
        """Joules that no job was charged with yet."""
        return self.used_j() - self._charged_j

    def due_mj(self, job: JobId) -> int:
        """Millijoules that the job's update is to say, if it is made now."""
        self.begin(job)
        self._marks.move_to_end(job)
        return min(MILLIJOULES_MAX, max(0, math.floor(1000 * (self._open_j() - self._marks[job]))))

    def charge(self, job: JobId, millijoules: int) -> None:
        """An update of the job that says so was kept: nobody else is charged with the same."""
        self._charged_j += millijoules / 1000
        open_j = self._open_j()
        for other, mark_j in self._marks.items():
            self._marks[other] = min(mark_j, open_j)
