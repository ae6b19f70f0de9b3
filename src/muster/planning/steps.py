"""How many local steps a round has, and each node in it: pure functions.

A round costs overhead (messages, waiting, evaluation) and steps.  Let R be the overhead over the time of one
step, in seconds, or in joules where they bind.  Rounds to a target fall with the steps tau about as tau**-a,
a from 0.7 for few steps to 0.2 for many, so that the time to it is least near tau = 1.7 R**0.6, and the
optimum is flat (bench/learning/adaptive_steps.py has the figures).  Within the window that this gives the
median node, each node takes as many steps as fit.

Too many steps on skewed data set a floor under the loss that R does not show: where the held-out loss stands
still, the steps are halved, and a halving that does not help is taken back.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from muster.protocol.parts import Steering

FACTOR, EXPONENT = 1.7, 0.6
STEPS_MOST = 100  # more gain nothing on any split but the mildest, and some jobs then miss their target
CHANGE_MOST = 2.0  # from one round to the next, up or down
HALVINGS_MOST = 3
SMOOTHING = 0.5  # weight of the newest loss
FALL = 0.02  # that counts as one, of the smoothed loss,
PATIENCE = 4  # within so many rounds


def usual_steps(ratio: float) -> float:
    """Steps of the median node where a round's overhead is `ratio` times as long (or costly) as one step."""
    if math.isnan(ratio) or ratio < 0:
        raise ValueError(f"a ratio of costs is 0 or more, not {ratio}")
    return min(float(STEPS_MOST), max(1.0, FACTOR * math.pow(ratio, EXPONENT)))


def steered_steps(ratio: float, steering: Steering) -> int:
    """The same after halvings, and at most CHANGE_MOST times as many or few as in the round before."""
    steps = math.ldexp(usual_steps(ratio), -steering.halvings)
    if steering.steps:
        steps = min(CHANGE_MOST * steering.steps, max(steering.steps / CHANGE_MOST, steps))
    return max(1, round(steps))


def fitting_steps(window_s: float, overhead_s: float, step_s: float, most: int = STEPS_MOST) -> int:
    """Steps of a node with these figures in a round of `window_s`: at least 1, at most `most`."""
    return max(1, min(most, math.floor((window_s - overhead_s) / step_s + 1e-9)))


def watch(steering: Steering, loss: float | None, steps: int) -> Steering:
    """The steering after a round of `steps`, and after `loss`, the newest held-out one, was measured (None:
    there is none, and nothing is concluded)."""
    steering = replace(steering, steps=steps)
    if loss is None or not math.isfinite(loss):
        return steering
    if steering.loss is None or steering.best is None:
        return replace(steering, loss=loss, best=loss, stalled=0)
    smoothed = SMOOTHING * loss + (1.0 - SMOOTHING) * steering.loss
    if smoothed <= steering.best - FALL * abs(steering.best):
        return replace(steering, loss=smoothed, best=smoothed, stalled=0, on_trial=False)
    steering = replace(steering, loss=smoothed, stalled=steering.stalled + 1)
    if steering.stalled < PATIENCE:
        return steering
    steering = replace(steering, stalled=0, best=smoothed)
    if steering.on_trial:  # it did not help: the steps are not what the loss stands still by
        taken_back = steering.taken_back + 1
        return replace(steering, halvings=steering.halvings - 1, on_trial=False, taken_back=taken_back)
    if steering.taken_back or steering.halvings >= HALVINGS_MOST or steps <= 1:  # there is nothing to halve
        return steering
    return replace(steering, halvings=steering.halvings + 1, on_trial=True)


def merged(a: Steering, b: Steering) -> Steering:
    """The steering of a merge of two branches: fewer steps where either needed fewer; the loss of neither
    counts for the mixed model."""
    few = min(s.steps for s in (a, b) if s.steps) if a.steps or b.steps else 0
    return Steering(few, max(a.halvings, b.halvings), taken_back=max(a.taken_back, b.taken_back))
