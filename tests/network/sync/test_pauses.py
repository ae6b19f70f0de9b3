"""What a presence table keeps of how its nodes come and go."""

from __future__ import annotations

from muster.network.sync.presence import HEARTBEATS_MISSED_MAX, PAUSES_KEPT, STATES, Heartbeat, Presence

NODE, JOB = b"n" * 32, b"j" * 32


class Table:
    """One node's table, and a clock."""

    def __init__(self) -> None:
        self.now_s, self.count = 0.0, 0
        self.presence = Presence(b"m" * 32, 1, lambda: self.now_s)

    def hear(self, after_s: float, state: str = "training", job: bytes = JOB) -> None:
        self.now_s, self.count = self.now_s + after_s, self.count + 1
        said = Heartbeat(NODE[:8], 1, self.count, STATES.index(state), 0, 255, job[:4], 1)
        self.presence.merge([said])


def test_a_silence_of_a_node_at_work_is_a_pause() -> None:
    table = Table()
    for after_s in (1.0, 2.0, 2.0, 30.0, 2.0, 12.0):
        table.hear(after_s)
    assert table.presence.pauses_s(NODE) == (30.0, 12.0)
    assert table.presence.pauses_s(b"x" * 32) == ()


def test_an_idle_node_that_sends_few_heartbeats_makes_no_pauses() -> None:
    table = Table()
    for _ in range(3):
        table.hear(50.0, "idle", b"")
    table.hear(50.0)
    assert table.presence.pauses_s(NODE) == ()


def test_only_the_newest_pauses_are_kept() -> None:
    table = Table()
    for number in range(PAUSES_KEPT + 4):
        table.hear(10.0 + number)
    assert len(table.presence.pauses_s(NODE)) == PAUSES_KEPT
    assert table.presence.pauses_s(NODE)[-1] == 10.0 + PAUSES_KEPT + 3


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
