"""What `muster log --bytes` and the end of a demo say of the bytes that nodes count (`traffic_counters`)."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fakenode import JOB, FakeNode, job_view, snapshot

from muster.cli.demo.fleet import DemoFleet
from muster.cli.demo.outcome import DemoOutcome, report_of
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.report import SentReport
from muster.cli.demo.views.summary import print_summary
from muster.cli.main import run
from muster.emulation.scenario_file import load
from muster.network.transport.traffic_counters import BytesSent
from muster.node.api.client import Exported, LogView
from muster.node.api.snapshot import NeighbourView, SentView
from muster.node.api.snapshot_builder import sent_view

# figures of different sizes, so that none can stand in another's column
JOB_SENT = SentView(payload=24_200, records=7_310, exchange=0, presence=0, again=512)
LINK_SENT = SentView(payload=31_000, records=8_020, exchange=1_430, presence=650, again=777, frozen=5_000)
REQUEST = DemoRequest(load("narrow-9"), "digits", "classes:2", 5)


def test_log_bytes(alpha: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    link = NeighbourView("62", "bravo", 4.0, 0.104, 110_000.0, 50_000, 2000, LINK_SENT)
    alpha.answers["log"] = LogView(job_view(sent=JOB_SENT), [], links=[link])
    assert run(["log", JOB[:8], "--bytes"]) == 0
    assert alpha.requests[-1] == {"op": "log", "job": JOB[:8], "links": True}
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["PAYLOAD", "RECORDS", "EXCHANGE", "HEARTBEATS", "FROZEN", "ALL", "SENT AGAIN"],
        ["this job", "24.2 kB", "7.31 kB", "0 B", "0 B", "0 B", "31.5 kB", "512 B"],  # again is a part of it
        ["to bravo", "31 kB", "8.02 kB", "1.43 kB", "650 B", "5 kB", "46.1 kB", "777 B"],
    ]
    assert run(["log", JOB[:8], "--bytes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["job"]["sent"] == {
        "payload": 24_200, "records": 7_310, "exchange": 0, "presence": 0, "again": 512,
        "frozen": 0,
    }  # fmt: skip
    assert told["links"][0]["sent"]["again"] == 777


def test_every_figure_is_shown_under_its_own_name() -> None:
    assert sent_view(BytesSent(payload=1, records=2, exchange=3, presence=4, again=5, frozen=6)) == SentView(
        payload=1, records=2, exchange=3, presence=4, again=5, frozen=6
    )


def sent(scale: int) -> SentView:
    return SentView(100 * scale, 20 * scale, 30 * scale, 4 * scale, 5 * scale)


def test_a_demo_adds_up_what_all_sent_since_the_job_was_asked_for(tmp_path: Path) -> None:
    async def main() -> SentReport:
        no_net: Any = None
        field = DemoFleet(REQUEST, tmp_path, no_net)
        field.sent_before = {"alpha": sent(2), "bravo": sent(7)}
        now = {"alpha": sent(5), "bravo": sent(1), "charlie": sent(10)}  # bravo was started anew
        field.snapshots = {name: snapshot(name, sent=view) for name, view in now.items()}
        return field.sent()

    found = asyncio.run(main())
    assert found == SentReport(payload=1400, records=280, exchange=420, presence=56, again=70)


def test_a_demos_end_says_where_the_bytes_went() -> None:
    wire = {
        "alpha->bravo": 40_000,
        "bravo->alpha": 31_000,
        "alpha->charlie": 30_000,
        "charlie->alpha": 41_000,
    }
    counted = SentReport(payload=48_400, records=14_800, exchange=3_500, presence=1_240, again=999)
    outcome = DemoOutcome(
        job_view(), LogView(job_view(), []), Exported([], None, "ef" * 32), 126.0, 49.0, wire,
        350_000, counted, "emulated on loopback",
    )  # fmt: skip
    report = report_of(REQUEST, outcome, {})
    assert report.bytes_sent == counted
    assert report.bytes_total == 142_000
    out = io.StringIO()
    print_summary(report, out)
    printed = dict(_row(line) for line in out.getvalue().splitlines())
    shown = {
        "bytes on all links (headers included)": "142 kB",
        "of these updates, deltas and models": "48.4 kB",
        "records beside them": "14.8 kB",
        "announcements and heartbeats": "4.74 kB",
        "QUIC, UDP, IP, Ethernet, sent again by the radio": "74.1 kB",  # 142,000 less the three, to the byte
        "before the job: handshakes and first heartbeats": "350 kB",
        "a link, both directions: updates, deltas and models": "24.2 kB",
        "all on the air": "71 kB, 2.93 times",
    }
    assert {name: printed.get(name) for name in shown} == shown


def _row(line: str) -> tuple[str, str]:
    name, _, value = line.strip().partition("  ")
    return name.strip(), value.strip()
