"""How many samples at how many bits a byte budget is spent on, chosen by the sender on its own data.

Where the bits are enough, more samples at fewer bits won every comparison.  They are enough when

* levels blur less than samples differ: quantisation moves a sample less far, in the mean, than the nearest
  other one of its class lies.  This asks for 1 bit for MNIST, 2 for digits, 2 or 3 for most tables;
* held-out samples are predicted by the nearest one of the coreset as well, within two standard errors, as
  with any other number of bits, each with as many samples as the budget holds.  One class cannot tell this,
  and for means of many large samples it would take minutes on a small device: these have two bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.checks import VALUE_BITS_MAX
from muster.coresets.coding.codec import encode
from muster.coresets.coreset import BITS_MAX, Coreset, Space
from muster.coresets.kinds.make import KINDS, coded, make, most, usual_kind
from muster.coresets.kinds.summary import groups
from muster.coresets.scores import blur, losses, spacing

BITS = (1, 2, 3, 4, 6, 8)
TRIED_ON_MAX = 2_000  # samples
TRIED_VALUES_MAX = 20_000_000  # inputs of all of these
MEANS_VALUES_MAX = 500_000  # inputs on which bits are tried for means: they are clustered each time
MEANS_BITS = 2  # of more: what trials say of MNIST
SPACED_MAX = 600  # of these, between which distances are taken
LARGE, LARGE_BITS_MAX = 10_000, 4  # inputs of one sample, and bits at most, because coding them takes long
HELD_OUT_SHARE = 0.25
SURE = 1000  # samples that fit, from which on trials of 2,000 cannot tell bits apart: the fewest are taken
NOISE = 2  # standard errors that fewer bits may be worse by
TRIALS = 3  # splits into samples that a coreset is made of and held-out ones
PROBED_MAX = 32  # samples, whose size, beside that of a quarter of them, says what more take
PROBED_VALUES_MAX = 50_000
TRIES = 4  # to find the count that fills the budget
GUESSED = 0.97  # of the budget, where a part tells what all take
FILLED = 0.93  # of the budget, is enough

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Choice:
    bits: int
    count: int


def choose(
    x: Floats,
    y: NDArray[Any],
    budget_bytes: int,
    space: Space,
    means_only: bool,
    rng: np.random.Generator,
) -> Coreset:
    """The coreset of samples `x` (n, *shape) with targets `y` that serves best within a budget.

    An empty one: not one sample fits, or `means_only` and no class has enough for a mean.
    """
    few = max(1, min(TRIED_ON_MAX, TRIED_VALUES_MAX // math.prod(space.shape)))
    tried = slice(None) if len(x) <= few else rng.permutation(len(x))[:few]
    few_x, few_y, classes = x[tried], y[tried], len(groups(y))
    kind = usual_kind(space, classes, len(x), means_only)
    choices = _what_fits(few_x, few_y, kind, y, budget_bytes, space, rng)
    if not choices:
        return make(kind, x, y, 0, space, BITS[0], rng)
    kind = usual_kind(space, classes, choices[0].count, means_only)
    chosen = choices[0]
    if means_only and few_x.size > MEANS_VALUES_MAX:
        chosen = next((c for c in choices if c.bits >= MEANS_BITS), choices[-1])
    elif choices[0].count < SURE and (classes > 1 or not space.classes):
        chosen = _fewest_within_noise(few_x, few_y, kind, choices, space, rng)
    return filled(x, y, kind, chosen.bits, chosen.count, budget_bytes, space, int(rng.integers(2**63)))


def _what_fits(
    x: Floats,
    y: NDArray[Any],
    kind: str,
    all_y: NDArray[Any],
    budget_bytes: int,
    space: Space,
    rng: np.random.Generator,
) -> list[_Choice]:
    """For each number of bits about as many samples as fit, if any do; the fewest bits first.

    Without those whose levels blur more than samples differ; where all do, the most bits are left.
    """
    values = math.prod(space.shape)
    probed = max(1, min(PROBED_MAX, PROBED_VALUES_MAX // values))
    probes = [KINDS[kind](x, y, count, space, rng) for count in (-(-probed // 4), probed)]
    if not len(probes[0]) or _count_max(kind, y, space, BITS_MAX) < len(probes[1]):
        return []  # no mean, or not one sample as large as this fits into a message
    apart = spacing(x[:SPACED_MAX], y[:SPACED_MAX], space)
    tried = [bits for bits in BITS if values <= LARGE or bits <= LARGE_BITS_MAX]
    if space.kind == "photo":
        tried = [BITS_MAX]
    large = {bits: coded(probes[1], space, kind, bits) for bits in tried}
    sharp = [bits for bits in tried if blur(probes[1], large[bits], space) <= apart]
    fits = []
    for bits in sharp or tried[-1:]:
        size, more = len(encode(large[bits])), len(probes[1]) - len(probes[0])
        each = size / len(probes[1])
        if more:
            each = max((size - len(encode(coded(probes[0], space, kind, bits)))) / more, 0.01)
        fit = len(probes[1]) + int((budget_bytes - size) // each)
        fits.append(_Choice(bits, min(fit, _count_max(kind, all_y, space, bits))))
        if kind != "means" and fits[0].count >= SURE:  # it is taken
            break
    return [choice for choice in fits if choice.count > 0]


def _fewest_within_noise(
    x: Floats, y: NDArray[Any], kind: str, choices: list[_Choice], space: Space, rng: np.random.Generator
) -> _Choice:
    held = int(HELD_OUT_SHARE * len(x))
    if len(choices) == 1 or held < 2:
        return choices[0]
    scale = min(1.0, (len(x) - held) / max(choice.count for choice in choices))
    found: list[list[NDArray[np.float64]]] = [[] for _ in choices]
    for _ in range(TRIALS):
        order, seed = rng.permutation(len(x)), int(rng.integers(2**63))
        out, kept = order[:held], order[held:]
        for choice, lost in zip(choices, found, strict=True):
            count, draws = max(1, round(scale * choice.count)), np.random.default_rng(seed)
            coreset = make(kind, x[kept], y[kept], count, space, choice.bits, draws)
            if not len(coreset):
                return choices[0]  # too few samples for means when some are held out
            lost.append(losses(coreset, x[out], y[out], space))
    table = np.asarray([np.concatenate(lost) for lost in found])
    worse = table - table[table.mean(1).argmin()]
    noise = worse.std(1) / np.sqrt(worse.shape[1])
    return choices[int(np.flatnonzero(worse.mean(1) <= NOISE * noise)[0])]


def filled(
    x: Floats,
    y: NDArray[Any],
    kind: str,
    bits: int,
    count: int,
    budget_bytes: int,
    space: Space,
    seed: int,
) -> Coreset:
    """A coreset of all samples whose message nearly fills the budget; `count` is a first guess above 0."""
    best = make(kind, x, y, 0, space, bits, np.random.default_rng(seed))
    cap = _count_max(kind, y, space, bits)
    count = min(count, cap)
    if count >= SURE:  # a quarter tells how many bytes all take, and encoding takes time
        quarter = len(encode(make(kind, x, y, count // 4, space, bits, np.random.default_rng(seed))))
        count = min(cap, max(1, int(GUESSED * budget_bytes / quarter * (count // 4))))
    fits, too_many, tried = 0, cap + 1, 0
    while fits < count < too_many and (tried < TRIES or not fits):
        tried += 1
        coreset = make(kind, x, y, count, space, bits, np.random.default_rng(seed))
        size = len(encode(coreset))
        if size > budget_bytes:
            too_many = count
        else:
            fits = count
            best = coreset if len(coreset) >= len(best) else best
            if size >= FILLED * budget_bytes:
                break
        guess = int(0.98 * count * budget_bytes / size) if tried < TRIES else count // 2
        count = guess if fits < guess < too_many else min(cap, (fits + too_many) // 2)
    return best


def _count_max(kind: str, y: NDArray[Any], space: Space, bits: int) -> int:
    """The most samples that this data gives and a message may have."""
    return min(most(kind, y), VALUE_BITS_MAX[space.kind] // (bits * math.prod(space.shape)))
