"""Puts this folder on the path: its helper modules serve the tests beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the models are tiny; several threads would only wait for one another
