"""Trains `digits` with every node in reach, and writes its curves for TensorBoard as the rounds are done.

muster node --name alpha &
python examples/tensorboard_run.py runs
tensorboard --logdir runs
"""

import sys

import muster

place = sys.argv[1] if len(sys.argv) > 1 else "runs"
result = muster.train("digits", rounds=5, callbacks=[muster.Tracker(f"tensorboard:{place}")])
print(", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items()))
print(f"curves: tensorboard --logdir {place}")
