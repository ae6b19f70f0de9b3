"""Whether labels show that a model fell: too few of them are right for the accuracy that it had.

Decided are at least 20 labels of one epoch, by an exact binomial test at 1 % (they are looked at again with
each label) against the reference accuracy less 5 points: a smaller fall is not worth a training.
"""

from __future__ import annotations

from dataclasses import dataclass

from muster.adaptation import exact

LABELS_MIN = 20
LEVEL = 0.01
MARGIN = 0.05
REFERENCE_LABELS = (
    100  # of earlier epochs; with fewer the accuracy that the model's file states counts as well
)
CERTAIN = 0.995  # no accuracy is taken to be higher


@dataclass(frozen=True)
class Fall:
    """`fell`: what the labels say; `p`: how likely they are for a model that did not fall."""

    fell: bool
    p: float
    labels: int
    right: int
    reference: float


def fall(labels: int, wrong: int, reference: float) -> Fall:
    """Of an epoch's labels, `wrong` of which the model answered wrongly, and its accuracy before (0 to 1)."""
    if not 0 <= wrong <= labels:
        raise ValueError(f"{wrong} of {labels} labels cannot be wrong")
    right = labels - wrong
    expected = min(max(reference, 0.0), CERTAIN) if reference == reference else CERTAIN  # NaN: not known
    p = exact.at_most(right, labels, max(expected - MARGIN, 0.0))
    return Fall(labels >= LABELS_MIN and p <= LEVEL, p, labels, right, expected)


def reference_accuracy(labels: int, wrong: int, stated: float | None) -> float:
    """The accuracy before a change: of `labels` of earlier epochs, and of the file's `stated` one (0 to 1).

    The stated one counts as so many labels as are lacking to 100; unknown, as one more right label.
    """
    if not 0 <= wrong <= labels:
        raise ValueError(f"{wrong} of {labels} labels cannot be wrong")
    right = labels - wrong
    if stated is None or not 0.0 <= stated <= 1.0:
        return (right + 1) / (labels + 1)
    lacking = max(0, REFERENCE_LABELS - labels)
    return (right + stated * lacking) / (labels + lacking)
