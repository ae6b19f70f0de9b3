"""What a job may be asked to be: the same limits that every node has for its record."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from muster.cli.commands.train import train
from muster.errors import MusterError
from muster.node.api.job_description import Request, with_defaults
from muster.node.api.job_requests import ask

NASTY: dict[type, tuple[Any, ...]] = {
    int: (-(2**63) - 1, -1, 0, 2**31, 2**53, 2**63, 9223372036854775813, 2**64, 2**70),
    float: (math.nan, math.inf, -math.inf, -1.0, 1e308),
    str: ("", "x" * 5000, "\x00", "\x1b[2J", "stc:nan", "stc:1e-300", "../.."),
}
MAY_PASS = {  # what is within the limits of its field, of the values above
    ("seed", -1), ("seed", 0), ("seed", 2**31), ("seed", 2**53), ("bytes", 2**31),
    ("bytes_node", 2**31), ("start", "../.."),
    ("start", ""), ("start", "stc:nan"), ("start", "stc:1e-300"), ("start", "\x1b[2J"),
    ("linger_s", 0), ("target", -1.0),
}  # fmt: skip


class Opened(Exception):
    """The checks are passed."""


class Catalogue:
    def borrowed(self, name: str) -> Any:
        raise Opened


def asked(**arguments: Any) -> None:
    nobody: Any = SimpleNamespace(log=SimpleNamespace(add=lambda kind, text: None))
    catalogue: Any = Catalogue()
    asyncio.run(ask(nobody, catalogue, {"task": "digits", **arguments}, b"n"))


def test_a_usual_job_passes() -> None:
    with pytest.raises(Opened):
        asked(rounds=3, seed=1)


@pytest.mark.parametrize("field", [f for f in Request.__struct_fields__ if f != "start"])
@pytest.mark.parametrize(
    "value", [v for values in NASTY.values() for v in values], ids=lambda v: repr(v)[:12]
)
def test_every_field_is_checked(field: str, value: Any) -> None:
    real = field in (
        "lr", "target", "seconds", "joules", "joules_node", "momentum", "lr_end", "server_momentum",
        "patience_s",
    )  # fmt: skip
    if isinstance(value, int) and real:
        value = float(value) if abs(value) < 2**60 else 1e305
    within = (
        field == "task"
        or (field, value) in MAY_PASS
        or (real and isinstance(value, float) and 0 <= value <= (1e300 if "joules" in field else 1e10))
    )
    with pytest.raises((Opened, MusterError)) as caught:
        asked(**{field: value})
    assert within or isinstance(caught.value, MusterError)
    assert getattr(caught.value, "code", "usage") == "usage"


@pytest.mark.parametrize("start", NASTY[str], ids=lambda v: repr(v)[:12])
def test_what_it_begins_from_is_checked(start: str) -> None:
    with pytest.raises((Opened, MusterError)) as caught:
        asked(**{"from": start})
    assert isinstance(caught.value, Opened) or caught.value.code in ("usage", "bad_data")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "option",
    ["--seed=9223372036854775813", "--seed=-9223372036854775809", "--steps=0", "--momentum=1", "--lr=inf",
     "--batch=100000", "--average=0", "--patience=1e300", "--min-nodes=0", "--seconds=inf", "--bytes=0",
     "--bytes-node=many", "--joules=0", "--joules=nan", "--joules=5kB", "--joules-node=-1"],
)  # fmt: skip
def test_the_command_line_says_the_same(option: str) -> None:
    result = CliRunner().invoke(train, ["digits", option])
    assert result.exit_code == 2, result.output


def test_a_tasks_defaults_give_way_to_what_is_asked() -> None:
    known = {"lr": 0.3, "steps": 1, "rounds": 7}
    plain = with_defaults(Request("some"), known)
    assert (plain.lr, plain.steps, plain.rounds, plain.batch) == (0.3, 1, 7, None)
    asked_for = with_defaults(Request("some", lr=0.1, seconds=60.0), known)
    assert (asked_for.lr, asked_for.steps, asked_for.rounds) == (0.1, 1, None)  # it ends after 60 s


@pytest.mark.parametrize("known", [{"seed": 1}, {"learning_rate": 0.1}, {"steps": "many"}])
def test_a_tasks_defaults_that_cannot_be_are_its_fault(known: dict[str, Any]) -> None:
    with pytest.raises(MusterError, match="defaults") as caught:
        with_defaults(Request("some"), known)
    assert caught.value.code == "task_fault"
