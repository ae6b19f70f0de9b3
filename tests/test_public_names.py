"""The public API: what `muster.__all__` promises is there, and `train` says all of its options."""

from __future__ import annotations

import re

import muster
from muster.errors import MusterError
from muster.node.api.job_requests import Request


def test_every_public_name_is_there() -> None:
    assert all(getattr(muster, name) is not None for name in muster.__all__)
    assert muster.MusterError is MusterError


def test_train_says_what_a_request_may_hold() -> None:
    words = set(re.findall(r"\w+", muster.train.__doc__ or ""))
    assert set(Request.__struct_fields__) <= words | {"task", "start"}
