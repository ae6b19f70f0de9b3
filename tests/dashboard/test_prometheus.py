"""`GET /metrics`: what Prometheus gets, who gets it, and that the number of series is bounded."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from pages import make
from prometheus_client.parser import text_string_to_metric_families

from asgi import Reply, ask
from muster.dashboard.http.prometheus import exposition
from muster.errors import MusterError
from muster.node.api.gauges import JOBS_MAX, LINKS_MAX, Gauges, JobGauges, LinkGauges
from muster.node.api.snapshot import SentView

DOCS = Path(__file__).parents[2] / "docs" / "trackers.md"


def job(number: int = 1, **more: Any) -> JobGauges:
    plain: dict[str, Any] = {
        "id": f"{number:02x}" * 32, "task": "digits", "state": "running", "round": 7, "heads": 1,
        "age_s": 12.5, "spent_bytes": 90_000, "model_bytes": 12_000, "participants": 3,
        "refusing": 1, "updates": 20, "coordinating": True, "measured": 360,
        "metrics": {"accuracy": 0.93, "loss": 0.25},
    }  # fmt: skip
    return JobGauges(**{**plain, **more})


def gauges(**more: Any) -> Gauges:
    plain: dict[str, Any] = {
        "id": "ab" * 32, "name": "alpha", "version": "0.1.0", "state": "training", "uptime_s": 50.0,
        "battery": None, "memory_bytes": 60_000_000, "disk_bytes": 5000, "disk_limit_bytes": 2_000_000_000,
        "disk_free_bytes": 10**9, "members": 4, "reachable": 2, "neighbours": 1,
        "links": [LinkGauges("bravo", 1000, 2000, 0.104, None)], "sent": SentView(10, 20, 30, 40, 5),
        "loops": {"well": 11, "late": 0, "restarting": 1}, "loop_faults": 3,
        "refused": {"invalid": 2, "unknown_author": 0}, "wrong_blobs": 0, "fetching": 1, "jobs": [job()],
        "jobs_left_out": 0, "jobs_stored": 9,
    }  # fmt: skip
    return Gauges(**{**plain, **more})


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (
                sample.name.removeprefix("muster_"),
                tuple(value for _, value in sorted(sample.labels.items())),
            )
            assert key not in found, key
            found[key] = sample.value
    return found


def once(answer: Any, *, tokens: bool = False, path: str = "/metrics", **headers: str) -> Reply:
    async def run() -> Reply:
        made = make(tokens=tokens)
        made.clients.answers["gauges"] = answer
        return await ask(made.app, "GET", path, headers=headers)

    return asyncio.run(run())


def test_a_node_and_its_jobs_are_told() -> None:
    reply = once(gauges())
    assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert reply.headers["cache-control"] == "no-store"
    found = samples(reply.body.decode())
    expected = {
        ("up", ()): 1,
        ("node_info", ("abababab", "alpha", "0.1.0")): 1,
        ("node_state", ("training",)): 1,
        ("node_state", ("idle",)): 0,
        ("neighbours", ()): 1,
        ("disk_used_bytes", ()): 5000,
        ("link_received_bytes_total", ("bravo",)): 2000,
        ("link_rtt_seconds", ("bravo",)): 0.104,
        ("sent_bytes_total", ("exchange",)): 30,
        ("loops", ("restarting",)): 1,
        ("records_refused_total", ("invalid",)): 2,
        ("jobs", ("running",)): 1,
        ("jobs", ("failed",)): 0,
        ("job_round", ("01010101", "digits")): 7,
        ("job_bytes_total", ("01010101", "digits")): 90_000,
        ("job_metric", ("01010101", "accuracy", "digits")): 0.93,
        ("job_metric", ("01010101", "loss", "digits")): 0.25,
    }
    assert {key: found.get(key) for key in expected} == expected
    # what is not known is not there
    assert not {("battery_ratio", ()), ("power_watts", ()), ("energy_joules_total", ())} & found.keys()
    assert ("job_energy_joules_total", ("01010101", "digits")) not in found
    assert ("link_goodput_bytes_per_second", ("bravo",)) not in found


def test_a_node_that_is_away_is_a_figure() -> None:
    for answer in (MusterError("no_node", "no node answers"), MusterError("timeout", "too slow")):
        reply = once(answer)
        assert reply.status == 200
        assert samples(reply.body.decode()) == {("up", ()): 0}


def test_open_metrics_is_spoken_too() -> None:
    reply = once(gauges(), accept="application/openmetrics-text; version=1.0.0")
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/metrics", "/metrics?x=1"])
def test_it_follows_the_pages_access(path: str) -> None:
    assert once(gauges(), tokens=True, path=path).status == 401
    assert once(gauges(), tokens=True, path=path, authorization="Bearer nonsense").status == 401
    assert once(gauges(), tokens=True, path=path, authorization="Bearer viewer-token").status == 200
    assert once(gauges(), path=path, host="evil.example").status == 403
    assert once(gauges(), path=path, origin="http://evil.example").status == 403


def test_strange_names_are_labels() -> None:
    strange = 'a"b\\c\nd'
    text = exposition(gauges(name=strange, jobs=[job(task=strange, metrics={strange: 1.0})]), "")[0].decode()
    assert ("job_metric", ("01010101", strange, strange)) in samples(text)


def test_the_number_of_series_is_bounded() -> None:
    many = gauges(
        jobs=[job(n, metrics={f"m{i}": 1.0 for i in range(16)}) for n in range(JOBS_MAX)],
        links=[LinkGauges(f"n{i}", 1, 2, 0.1, 5.0) for i in range(LINKS_MAX + 1)],
    )
    assert len(samples(exposition(many, "")[0].decode())) < 1300


def test_the_page_of_the_docs_names_what_there_is() -> None:
    links = [LinkGauges("bravo", 1, 2, 0.1, 5.0)]
    known = gauges(battery=0.5, links=links, now_w=2.7, used_j=12.0, jobs=[job(joules=40.0)])
    text = exposition(known, "")[0].decode()
    assert samples(text)["job_energy_joules_total", ("01010101", "digits")] == 40.0
    served = {f"muster_{name}" for name, _ in samples(text)}
    written = set(re.findall(r"`(muster_\w+)`", DOCS.read_text("utf-8")))
    assert written <= served
    assert {name for name in served - written if not name.startswith("muster_job_")} == set()
