"""The lines of a node's log: levels, JSON, the journal's fields, and what repeats itself."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from pathlib import Path

import pytest

from muster.network.supervisor import Supervisor
from muster.node.event_log import EventLog
from muster.node.log import rate_limit
from muster.node.log.journal import Journal, encoded, fields, leads_to_journal, with_prefix
from muster.node.log.lines import LogLine, as_json, as_text, iso, level_of
from muster.node.log.printer import Libraries, Printer
from muster.node.log.rate_limit import LIMIT, PERIOD_S, SENTENCES_MAX, RateLimit
from muster.simulation.virtual.event_loop import run

JOB = "ab" * 32
LINE = LogLine(1_700_000_000.25, "error", "error", "fetching failed: no route", JOB, "bravo")


def test_a_line_as_json_has_what_a_collector_needs() -> None:
    assert json.loads(as_json(LINE, "alpha")) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "error",
        "part": "error",
        "text": "fetching failed: no route",
        "node": "alpha",
        "about": "bravo",
        "job": JOB,
    }
    plain = json.loads(as_json(LogLine(0.0, "info", "link", 'a "b"\nc'), "alpha"))
    assert plain == {"time": iso(0.0), "level": "info", "part": "link", "text": 'a "b"\nc', "node": "alpha"}
    assert "\n" not in as_json(LogLine(0.0, "info", "link", "two\nlines"), "alpha")


def test_a_line_as_text_begins_with_the_time_of_day() -> None:
    import time

    assert as_text(LINE, time.gmtime) == "22:13:20 fetching failed: no route"


@pytest.mark.parametrize(("kind", "level"), [("error", "error"), ("wait", "warning"), ("commit", "info")])
def test_levels_of_events(kind: str, level: str) -> None:
    assert level_of(kind) == level


def test_the_journal_gets_fields_that_it_can_be_asked_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        journal = Journal("alpha", tmp_path / "journal")
        journal.write(LINE)
        journal.close()
        lines = listening.recv(65536).decode().splitlines()
    assert "MESSAGE=fetching failed: no route" in lines
    assert "PRIORITY=3" in lines
    assert f"MUSTER_JOB={JOB}" in lines
    assert {"MUSTER_NODE=alpha", "MUSTER_ABOUT=bravo", "SYSLOG_IDENTIFIER=muster"} < set(lines)


def test_a_trace_in_the_journal_has_its_length_before_it() -> None:
    message = encoded(fields(LogLine(0.0, "error", "asyncio", "failed", trace="Traceback\n  here"), "alpha"))
    text = b"failed\nTraceback\n  here"
    assert message.startswith(b"MESSAGE\n" + len(text).to_bytes(8, "little") + text + b"\nPRIORITY=3\n")
    assert b"MUSTER_JOB" not in message


def test_without_a_journal_the_level_stands_before_each_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal("alpha", tmp_path / "nowhere")
    journal.write(LogLine(0.0, "warning", "wait", "two\nlines"))
    journal.close()
    assert capsys.readouterr().out == "<4>two\n<4>lines\n"
    assert with_prefix(LINE).startswith("<3>")


def test_the_journal_is_known_by_its_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        status = os.fstat(file.fileno())
        there = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert leads_to_journal(file.fileno(), there)
        assert not leads_to_journal(file.fileno(), {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not leads_to_journal(file.fileno(), {})
    assert not leads_to_journal(-1, there)


def error(text: str) -> LogLine:
    return LogLine(0.0, "error", "error", text)


def test_an_error_that_repeats_itself_is_counted() -> None:
    limit = RateLimit()
    told = [line for i in range(30) for line in limit.admit(error(f"round {i}: no room"), float(i))]
    assert [line.text for line in told] == [f"round {i}: no room" for i in range(LIMIT)]
    assert limit.next_s() == PERIOD_S
    assert limit.due(PERIOD_S - 0.1) == []
    assert [line.text for line in limit.due(PERIOD_S)] == [
        f"... and {30 - LIMIT} more like it, the last: round 29: no room"
    ]
    assert limit.next_s() is None
    assert [line.text for line in limit.admit(error("round 30: no room"), 61.0)] == ["round 30: no room"]


def test_what_is_held_back_is_said_before_what_comes_next_and_at_the_end() -> None:
    limit = RateLimit(limit=1)
    assert len(limit.admit(error("a"), 0.0)) == 1
    assert limit.admit(error("a"), 1.0) == []
    assert [line.text for line in limit.admit(error("b"), 70.0)] == [
        "... and 1 more like it, the last: a",
        "b",
    ]
    limit.admit(error("b"), 71.0)
    assert [line.text for line in limit.end()] == ["... and 1 more like it, the last: b"]


def test_rounds_that_go_by_fast_are_each_a_sentence_of_its_own() -> None:
    limit = RateLimit()
    rounds = [LogLine(0.0, "info", "commit", f"round {i}: 3 nodes") for i in range(100)]
    assert [line for one in rounds for line in limit.admit(one, 0.0)] == rounds
    same = LogLine(0.0, "info", "link", "bravo is out of reach")
    assert len([line for _ in range(50) for line in limit.admit(same, 0.0)]) == LIMIT


def test_parts_and_words_are_told_apart() -> None:
    limit = RateLimit(limit=1)
    assert limit.admit(error("bravo: no room"), 0.0)
    assert limit.admit(error("charlie: no room"), 0.0)
    assert limit.admit(LogLine(0.0, "error", "asyncio", "bravo: no room"), 0.0)
    assert not limit.admit(error("bravo: no room"), 0.0)
    assert limit.admit(error("record ab12cd34ef is refused"), 0.0)
    assert not limit.admit(error("record 99aabbccdd is refused"), 0.0)


def test_the_table_of_sentences_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "SENTENCES_MAX", 3)
    limit = RateLimit(limit=1)
    limit.admit(error("a"), 0.0)
    limit.admit(error("a"), 0.0)
    told = [line.text for word in "bcde" for line in limit.admit(error(word), 1.0)]
    assert told == ["b", "c", "... and 1 more like it, the last: a", "d", "e"]
    assert SENTENCES_MAX >= 100


def test_the_printer_says_what_was_held_back_without_another_event() -> None:
    printed: list[tuple[float, str]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        log, supervisor = EventLog(loop.time), Supervisor()
        printer = Printer(log, lambda line: printed.append((loop.time(), line.text)), "warning")
        supervisor.keep("printing events", printer.run)
        log.add("link", "bravo is in reach")
        for _ in range(LIMIT + 2):
            log.add("error", "no room")
        await asyncio.sleep(1)
        assert [text for _, text in printed] == ["no room"] * LIMIT
        await asyncio.sleep(PERIOD_S)
        assert printed[-1] == (PERIOD_S, "... and 2 more like it, the last: no room")
        log.add("error", "at the end")
        printer.close()
        assert printed[-1][1] == "at the end"
        await supervisor.close()

    run(main())


def test_what_libraries_log_comes_into_the_same_log_with_its_trace() -> None:
    printed: list[LogLine] = []

    async def main() -> None:
        printer = Printer(EventLog(lambda: 0.0), printed.append)
        handler = Libraries(printer.add)
        logger = logging.Logger("asyncio")
        logger.addHandler(handler)
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("a loop failed")
        logger.warning("slow")
        logger.info("not this")
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [(line.level, line.part, line.text) for line in printed] == [
        ("error", "asyncio", "a loop failed"),
        ("warning", "asyncio", "slow"),
    ]
    assert printed[0].trace.endswith("ValueError: odd")
