"""The daemon's side of a server: found, started, replaced, with pauses that grow. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from muster import __version__
from muster.network.supervisor import Pulse
from muster.node.serving.keeper import UP_S, WELL_S, ServerKeeper
from muster.serving.report import ServerReport
from muster.serving.settings import ServeConfig, settings_hash
from muster.simulation.virtual.event_loop import run
from muster.storage.offload import inline

CONFIG = ServeConfig(port=7460)


def report(pid: int, **changes: object) -> ServerReport:
    fields = {field.name: field.type for field in msgspec.structs.fields(ServerReport)}
    plain = {int: 0, float: 0.0, str: "", bool: False}
    values = {name: plain.get(kind) for name, kind in fields.items()}
    known = {"pid": pid, "start": pid, "muster": __version__, "settings": settings_hash(CONFIG), "watch": {}}
    return ServerReport(**{**values, **known, "url": f"http://here:{pid}/", **changes})  # type: ignore[arg-type]


class FakeProcesses:
    """A machine on which servers start and end."""

    def __init__(self) -> None:
        self.alive: ServerReport | None = None
        self.own: int | None = None
        self.why: str | None = None  # the one that was started here has ended, for this reason
        self.starts: list[float] = []
        self.ended: list[int] = []
        self.comes_up = True
        self.fails: str | None = None  # each one at its start, for this reason
        self.silent = False

    def running(self) -> ServerReport | None:
        if self.alive is not None and not self.silent:
            now_s = asyncio.get_running_loop().time()
            self.alive = msgspec.structs.replace(self.alive, written_t=now_s)
        return self.alive

    def start(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        self.own = 100 + len(self.starts)
        if self.fails is not None:
            self.why = self.fails
        elif self.comes_up:
            self.alive = report(self.own)

    def beginning(self) -> bool:
        return self.own is not None and self.why is None

    def taken_away(self) -> str | None:
        why = self.why or "signal 9" if self.own is not None else None
        self.own = self.why = None
        return why

    def end(self, found: ServerReport, grace_s: float) -> None:
        self.ended.append(found.pid)
        self.alive = None
        self.why = "" if self.own == found.pid else self.why

    def dies(self, why: str = "signal 9") -> None:
        self.alive = None
        if self.own is not None:
            self.why = why


Happens = Callable[[FakeProcesses], object]


def kept(for_s: float, prepare: Happens, later: dict[float, Happens]) -> tuple[FakeProcesses, list[str]]:
    """What came of `prepare`, and of what happens `later`."""

    async def main() -> tuple[FakeProcesses, list[str]]:
        machine, said = FakeProcesses(), list[str]()
        prepare(machine)
        keeper = ServerKeeper("digits", CONFIG, machine, inline, said.append)
        task = asyncio.create_task(keeper.run(Pulse()))
        now_s = 0.0
        for at_s, happens in sorted(later.items()):
            await asyncio.sleep(at_s - now_s)
            now_s = at_s
            happens(machine)
        await asyncio.sleep(for_s - now_s)
        task.cancel()
        await keeper.close()
        return machine, said

    return run(main())


def test_one_is_started_and_ended_with_the_node() -> None:
    machine, said = kept(10.0, lambda m: None, {})
    assert machine.starts == [0.0]
    assert machine.ended == [101]
    assert said == ["digits is served at http://here:101/ (process 101)"]


def test_the_one_of_an_earlier_daemon_goes_on() -> None:
    machine, said = kept(10.0, lambda m: setattr(m, "alive", report(7)), {})
    assert machine.starts == []
    assert said == ["digits is served at http://here:7/ (process 7)"]
    assert machine.ended == [7]  # with the node, in the end


def test_one_that_was_killed_is_started_at_once() -> None:
    machine, said = kept(20.0, lambda m: None, {5.5: FakeProcesses.dies})
    assert machine.starts == [0.0, 6.0]
    assert "the server of digits ended (signal 9): it starts again" in said
    machine, said = kept(20.0, lambda m: setattr(m, "alive", report(7)), {5.5: FakeProcesses.dies})
    assert machine.starts == [6.0]
    assert "the server of digits ended (its process is gone): it starts again" in said


def test_pauses_grow_and_are_forgotten() -> None:
    machine, said = kept(200.0, lambda m: setattr(m, "fails", "port 7460 is taken"), {})
    gaps = [b - a for a, b in zip(machine.starts, machine.starts[1:], strict=False)]
    assert gaps[:5] == [1.0, 2.0, 3.0, 5.0, 9.0]
    assert max(gaps) <= 62.0
    assert said[0] == "the server of digits ended (port 7460 is taken): it starts again"
    assert said[1].endswith("it starts again in 1 s")
    later = {
        3.0: lambda m: setattr(m, "fails", None),
        50.0 + WELL_S: FakeProcesses.dies,
    }
    machine, said = kept(100.0 + WELL_S, lambda m: setattr(m, "fails", "no"), later)
    assert said[-2].endswith("(signal 9): it starts again")


def test_one_of_another_version_or_with_other_settings_is_replaced() -> None:
    for changes, why in ({"muster": "0.0.9"}, "Muster 0.0.9"), ({"settings": "other"}, "other settings"):
        machine, said = kept(10.0, lambda m, c=changes: setattr(m, "alive", report(7, **c)), {})  # type: ignore[misc]
        assert machine.ended == [7, 101]
        assert machine.starts == [0.0]
        assert why in said[1]


def test_one_that_was_started_by_hand_is_left_alone() -> None:
    machine, _ = kept(100.0, lambda m: setattr(m, "alive", report(7, by_hand=True, settings="other")), {})
    assert (machine.ended, machine.starts) == ([], [])


def test_one_that_hangs_is_replaced() -> None:
    machine, said = kept(UP_S + 20, lambda m: None, {5.5: lambda m: setattr(m, "silent", True)})
    assert machine.ended[0] == 101
    assert len(machine.starts) == 2
    assert "the server of digits hangs and is replaced" in said


def test_one_that_does_not_come_up_is_killed_and_tried_again() -> None:
    machine, said = kept(UP_S + 5, lambda m: setattr(m, "comes_up", False), {})
    assert len(machine.starts) == 2
    assert "did not come up in 30 s" in said[0]


def test_a_look_while_the_node_stops_starts_none_again() -> None:
    """Ending a server takes a while, in which the loop may look: the server would outlive its node."""

    async def main() -> None:
        machine = FakeProcesses()

        async def slow(work: Callable[..., object], *args: object) -> object:
            done = work(*args)
            await asyncio.sleep(0.5)
            return done

        keeper = ServerKeeper("task", CONFIG, machine, slow, lambda text: None)  # type: ignore[arg-type]
        await keeper.look()
        await keeper.look()
        await asyncio.gather(keeper.close(), keeper.look())
        await keeper.look()
        assert (len(machine.starts), machine.alive) == (1, None)

    run(main(), until_s=100.0)
