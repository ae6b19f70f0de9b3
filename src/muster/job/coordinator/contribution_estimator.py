"""Estimates what each update of a round contributed: done by the round's coordinator, after its commit.

The values are no part of a commit and decide nothing; they are a record of their own, a few bytes an update
(`records.Contribution`).  They take one gradient on held-out samples, done while the trainer has nothing else
to do, which on a coordinator is the time in which it waits for the others; a request to train or measure ends
it, and it is tried again.  A coordinator that never waits spends at most `BUSY_SHARE` of its time.  Until a
round is estimated its updates' payloads stay on disk; a round that is not among the last `BEHIND_MAX` that
wait is given up.
"""

from __future__ import annotations

import asyncio
import math
from itertools import islice

import numpy as np

from muster.errors import MusterError
from muster.history.counted import Key
from muster.history.point import Point
from muster.job.context import Context, ContributionResult, Model, Weighted
from muster.job.models.payloads import payload_held
from muster.job.models.store import ModelStore
from muster.job.participant.loop import Participant
from muster.job.view import JobView
from muster.network.supervisor import Pulse
from muster.protocol.ids import CommitId
from muster.protocol.records import Contribution
from muster.storage.store import StorageError

EXAMPLES = 500  # held-out samples at most
OWN_EXAMPLES_MIN = 20  # fewer of a node's own mean nothing
BEHIND_MAX = 2  # rounds that wait for their estimate
LOOK_BACK = 32  # points of the history, newest first, among which these are looked for
DEATHS_MAX = 2  # of the trainer while it estimates
BUSY_SHARE = 0.05  # of a coordinator's time, where the trainer is never idle
CALM_S = 0.25  # nothing to do for so long: the next plan is not just being made


class ContributionEstimator:
    """Estimates the contributions to the rounds that this node committed, while there is a trainer."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._participant: Participant | None = None
        self._given_up: set[CommitId] = set()
        self._in_hand: list[
            Point
        ] = []  # being estimated, or waiting for the trainer; at the end more than one
        self._trouble = ""  # the last fault, so that it is reported once
        self._finishing = False
        self._spent_s = 0.0
        self._off = False  # there are no samples to estimate with, or the trainer dies of it
        self._deaths = 0

    async def run(self, participant: Participant, pulse: Pulse) -> None:
        """Estimate rounds as they come, until cancelled. Raises ChildProcessError."""
        self._participant, self._finishing = participant, False
        began_s, self._spent_s = self._context.now(), 0.0
        try:
            while True:
                pulse.renew(None)
                waiting = [] if self._finishing else self.waiting()
                if waiting and participant.idle():
                    await asyncio.sleep(CALM_S)
                    if participant.idle() and not self._finishing:
                        await self._estimate(waiting[0], background=True)
                elif (
                    len(waiting) >= BEHIND_MAX
                    and self._spent_s < (self._context.now() - began_s) * BUSY_SHARE
                ):
                    await self._estimate(waiting[0], background=False)
                else:
                    await self._context.changes.wait()
        finally:
            self._participant = None

    async def finish(self) -> None:
        """Estimate what still waits, when the job is over."""
        self._finishing = True
        for point in self.waiting():
            await self._estimate(point, background=False)

    def waiting(self) -> list[Point]:
        """This node's own commits that still lack their contributions, the oldest first."""
        if self._participant is None or self._off:
            return []
        me, known = self._context.node, self._view.contributions
        found = [
            p
            for p in islice(reversed(self._view.graph.points.values()), LOOK_BACK)
            if p.author == me and p.updates and me not in known.get(p.id, ()) and p.id not in self._given_up
        ]
        return found[:BEHIND_MAX][::-1]

    def keys(self) -> set[Key]:
        """Updates whose payloads are still needed for an estimate."""
        points = [*self.waiting(), *self._in_hand]
        return {Key(f.node, f.incarnation, f.sequence) for p in points for f in p.folded}

    def bases(self) -> list[CommitId]:
        """Commits whose parameters are in use for an estimate."""
        return [parent for point in self._in_hand for parent in point.parents]

    async def _estimate(self, point: Point, *, background: bool) -> None:
        participant, inputs = self._participant, self._inputs(point)
        if participant is None or inputs is None:
            self._given_up.add(point.id)
            return
        which = "common" if participant.trainer.facts.has_common else "own"
        self._in_hand.append(point)
        try:
            found = await participant.trainer.value(*inputs, which, EXAMPLES, background=background)
        except (MusterError, StorageError) as error:
            self._give_up(point, getattr(error, "sentence", str(error)))
            return
        except ChildProcessError as error:
            self._give_up(point, str(error))
            self._deaths += 1
            self._off = self._deaths >= DEATHS_MAX
            raise
        except KeyError:  # from the store: a blob is gone; values are not worth failing the job
            self._give_up(point, "an update or the model that it began with is gone")
            return
        finally:
            self._in_hand.remove(point)
        if found is None:  # another request took the trainer
            return
        took_s, result = found
        self._spent_s += took_s
        if result.examples < (1 if which == "common" else OWN_EXAMPLES_MIN):
            self._off = True
            self._report(f"contributions are not estimated: {result.examples} held-out samples are too few")
            return
        self._publish(point, result, which == "common")

    def _inputs(self, point: Point) -> tuple[Model, list[Weighted]] | None:
        """The model that a round began with, and its updates; None when something is gone."""
        store, rate = self._context.store, self._view.job.recipe.server_lr
        model = self._models.model_of(point.parents[0])
        if model is None or not store.has_blob(model.blob):
            return None
        updates = []
        for f in point.folded:
            known = self._view.updates.get(Key(f.node, f.incarnation, f.sequence))
            if known is None or not payload_held(store, known.record.payload):
                return None
            shape = self._models.shape_of(known.record.base)
            if shape is None:
                return None
            updates.append(Weighted(rate * f.weight, known.record.payload, shape))
        return model, updates

    def _publish(self, point: Point, result: ContributionResult, common: bool) -> None:
        drop = result.before - result.after
        with np.errstate(over="ignore"):
            values = np.asarray(result.values, "<f4")
        if len(values) != point.updates or not math.isfinite(drop) or not np.isfinite(values).all():
            self._give_up(point, "the values are not finite")
            return
        record = Contribution(self._view.id, point.id, result.examples, common, drop, values.tobytes())
        try:
            self._context.ledger.publish(record)
        except StorageError as error:
            self._give_up(point, str(error))

    def _give_up(self, point: Point, why: str) -> None:
        self._given_up.add(point.id)
        self._report(f"contributions to round {point.round} cannot be estimated: {why}")

    def _report(self, text: str) -> None:
        if text.partition(": ")[2] != self._trouble:
            self._trouble = text.partition(": ")[2]
            self._context.event("error", text, job=self._view.id)
