"""A machine that slept notices it by two clocks, of which one stood still."""

from __future__ import annotations

import asyncio

import pytest

from muster.network.supervisor import Pulse
from muster.network.transport import sleep
from muster.network.transport.sleep import LOOK_S, SLEPT_S, watch_sleep
from muster.simulation.virtual.event_loop import run


@pytest.mark.parametrize("slept_s", [SLEPT_S - 1, 600.0, 8 * 3600.0])
def test_a_sleep_is_noticed_once_and_soon(slept_s: float) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        asleep_s, found = 0.0, list[float]()

        async def woke(seconds: float) -> None:
            found.append(seconds)

        watching = asyncio.ensure_future(
            watch_sleep(woke, Pulse(), boot_s=lambda: now() + asleep_s, awake_s=now)
        )
        await asyncio.sleep(3600.0)
        assert not found
        asleep_s = slept_s
        await asyncio.sleep(LOOK_S + 0.1)
        assert found == ([slept_s] if slept_s >= SLEPT_S else [])
        await asyncio.sleep(3600.0)
        assert len(found) <= 1
        watching.cancel()

    run(main())


def test_the_real_clocks_agree_while_a_machine_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleep, "LOOK_S", 0.005)  # so that they are compared, some times

    async def main() -> None:
        async def woke(seconds: float) -> None:
            raise AssertionError(f"slept {seconds} s")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await watch_sleep(woke, Pulse())

    asyncio.run(main())
