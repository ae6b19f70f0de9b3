"""What a presence table keeps of how its nodes come and go."""

from __future__ import annotations

from muster.network.sync.heartbeat import STATES, Heartbeat
from muster.network.sync.presence import HEARTBEATS_MISSED_MAX, Presence
from muster.network.sync.spells import SPELLS_KEPT, Spells, decode_spells, encode_spells

NODE, JOB = b"n" * 32, b"j" * 32


class Table:
    """One node's table, and a clock."""

    def __init__(self, usual_s: float = 2.0, kept: dict[bytes, Spells] | None = None) -> None:
        self.now_s, self.count = 0.0, 0
        self.presence = Presence(
            b"m" * 32, 1, lambda: self.now_s, usual_s=lambda: usual_s, kept_spells=kept or {}
        )

    def hear(self, after_s: float, state: str = "training", job: bytes = JOB, start: int = 1) -> None:
        self.now_s, self.count = self.now_s + after_s, self.count + 1
        said = Heartbeat(NODE[:8], start, self.count, STATES.index(state), 0, 255, job[:4], 1)
        self.presence.merge([said])


def test_a_silence_of_a_node_at_work_is_an_absence() -> None:
    table = Table()
    for after_s in (1.0, 2.0, 2.0, 30.0, 2.0, 12.0, 2.0, 2.0):
        table.hear(after_s)
    table.now_s += 1.0
    assert table.presence.spells(NODE) == Spells((4.0, 2.0), (30.0, 12.0), 4.0, 1.0, whole=True)
    assert table.presence.spells(b"x" * 32) == Spells()


def test_three_lost_heartbeats_are_no_absence_nor_is_the_pace_of_a_narrow_link() -> None:
    table = Table()
    for _ in range(9):
        table.hear(6.0)
    assert table.presence.spells(NODE) == Spells(here_for_s=48.0)
    slow = Table(usual_s=20.0)
    for after_s in (20.0, 55.0, 20.0, 70.0):
        slow.hear(after_s)
    assert slow.presence.spells(NODE).away_s == (70.0,)


def test_an_idle_node_that_sends_few_heartbeats_stays_here() -> None:
    table = Table()
    for _ in range(3):
        table.hear(50.0, "idle", b"")
    table.hear(50.0)
    assert not table.presence.spells(NODE).away_s


def test_a_night_away_of_an_idle_node_is_an_absence() -> None:
    table = Table()
    for after_s in (50.0, 50.0, 30_000.0):
        table.hear(after_s, "idle", b"")
    assert table.presence.spells(NODE).away_s == (30_000.0,)


def test_only_the_newest_spells_are_kept() -> None:
    table = Table()
    for number in range(SPELLS_KEPT + 4):
        table.hear(10.0 + number)
        table.hear(1.0)
    spells = table.presence.spells(NODE)
    assert len(spells.away_s) == len(spells.here_s) == SPELLS_KEPT
    assert spells.away_s[-1] == 10.0 + SPELLS_KEPT + 3


def test_a_time_here_whose_beginning_nobody_heard_counts_if_it_is_the_longest() -> None:
    assert Spells((9.0,), (5.0,), here_for_s=2.0).came_back(5.0, off=False).here_s == (9.0,)
    assert Spells((9.0,), (5.0,), here_for_s=12.0).came_back(5.0, off=False).here_s == (9.0, 12.0)
    assert Spells((9.0,), (5.0,), here_for_s=2.0, whole=True).came_back(5.0, off=False).here_s == (9.0, 2.0)


def test_one_that_was_started_again_was_off() -> None:
    table = Table()
    for after_s, start in ((1.0, 1), (2.0, 1), (30.0, 2)):
        table.hear(after_s, start=start)
    assert table.presence.spells(NODE).off
    table.hear(30.0, start=2)
    assert not table.presence.spells(NODE).off


def test_a_stall_of_this_process_is_nobody_elses_absence() -> None:
    table = Table()
    for _ in range(5):
        table.presence.tick()
        table.hear(2.0)
    table.now_s += 60.0
    table.presence.tick()
    table.hear(0.0)
    assert not table.presence.spells(NODE).away_s


def test_spells_outlive_this_nodes_process() -> None:
    table = Table()
    for after_s in (1.0, 8.0, 30.0):
        table.hear(after_s)
    kept = encode_spells(table.presence.known_spells())
    again = Table(kept=decode_spells(kept))
    assert again.presence.spells(NODE).away_s == (8.0, 30.0)
    again.hear(1.0)
    assert again.presence.spells(NODE).away_s == (8.0, 30.0)
    assert again.presence.known_spells() == decode_spells(kept)
    assert decode_spells(None) == decode_spells(b"\x93\x01") == {}


def test_it_is_lively_until_three_heartbeats_are_missed() -> None:
    table = Table()
    for _ in range(9):
        table.hear(2.0)
    until_s = table.presence.lively_until_s(NODE)
    assert until_s == table.now_s + 2.0 + HEARTBEATS_MISSED_MAX * 2.0
    table.now_s = until_s
    assert table.presence.lively(NODE)
    table.now_s = until_s + 0.1
    assert not table.presence.lively(NODE)
    assert not table.presence.lively(b"x" * 32)


def test_it_works_for_a_job_while_it_says_so_and_is_heard() -> None:
    table = Table()
    table.hear(2.0)
    assert table.presence.works_for(NODE, JOB)
    assert not table.presence.works_for(NODE, b"k" * 32)
    table.now_s += 60.0
    assert not table.presence.works_for(NODE, JOB)
    table.hear(0.0, "idle")
    assert not table.presence.works_for(NODE, JOB)
