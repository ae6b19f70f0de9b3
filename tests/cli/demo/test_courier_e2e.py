"""The courier's story with real processes: a post that is met once is stood in for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from muster.cli.demo.outcome import DemoOutcome
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.run import run_demo
from muster.cli.demo.stories import chosen, courier
from muster.cli.demo.stories.courier_figures import courier_figures
from muster.cli.demo.views.frame import Frame
from muster.emulation.scenario_file import parse
from muster.node.api.client import Client
from patience import patient_s

WAIT_S = patient_s(600.0)
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(WAIT_S + 60)]
STAND_INS = 15  # after which the post's classes are known
NETWORK = """
nodes = [{ name = "alpha" }, { name = "bravo" }, { name = "charlie" }, { name = "delta" }]
[[groups]]
name = "camp"
nodes = ["alpha", "bravo"]
link = { rate_kbit_s = 1000, delay_ms = 20 }
[[stars]]
hub = "charlie"
nodes = ["alpha", "bravo", "delta"]
link = { rate_kbit_s = 1000, delay_ms = 20 }
"""


def request() -> DemoRequest:
    """The last act alone, of a job that goes on until it is stopped."""
    scenario = parse(NETWORK, "courier-4", "courier-4.toml")
    options = {"rounds": 9999, "steps": 20, "lr": 0.1, "linger_s": 0.0}
    plain = DemoRequest(scenario, "digits", courier.split(scenario), 0, options=options)
    return replace(chosen.with_story("courier", plain), acts=courier.ACTS[-1:])


def test_a_post_that_is_met_once_is_stood_in_for(tmp_path: Path) -> None:
    asked = request()
    lines: list[str] = []
    dashed: list[int] = []

    def show(frame: Frame) -> None:
        """Ends the job once there were enough stand-ins."""
        lines[:] = [text for _, text in frame.events]
        post = frame.nodes[-1]
        dashed.extend([post.shared_bytes] if post.stand_in else [])
        if frame.job is not None and frame.job.state == "running" and post.stood_in >= STAND_INS:
            Client(tmp_path / "alpha").stop(frame.job.id, "enough")

    async def main() -> DemoOutcome:
        async with (
            asyncio.timeout(WAIT_S),
            run_demo(asked, tmp_path, tmp_path / "model", show, print) as outcome,
        ):
            return outcome

    outcome = asyncio.run(main())
    given = {c.node: c for c in outcome.job.contributions}
    assert given["delta"].stood_in >= STAND_INS, lines
    assert given["delta"].updates_counted == 0
    assert 0 < given["delta"].shared_bytes <= courier.SHARE_BYTES
    assert dashed
    assert set(dashed) == {given["delta"].shared_bytes}
    assert any("stand-ins for delta" in line for line in lines)
    assert any("samples of delta" in line for line in lines)
    found = asyncio.run(courier_figures(replace(asked, options={}), outcome.acts))
    assert not isinstance(found, str), found
    assert [row.title for row in found.rows] == ["everybody present", "with stand-ins"]
    assert len(found.classes["delta"]) == 2
    assert found.rows[1].accuracy_posts > 0.4  # by updates alone: nothing
