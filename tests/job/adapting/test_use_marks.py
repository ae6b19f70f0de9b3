"""Marks on a job's curves for its models that go into use, and out of it again."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from msgspec.structs import replace
from small_field import LAYOUT, SmallField

from muster.node.api.rows.state_stream import Watcher
from muster.protocol.parts import StopRule
from muster.protocol.records import Need, Use
from muster.simulation.trainers.linear import facts_of
from muster.simulation.virtual.event_loop import run

OWN = {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}
FINGERPRINT = facts_of(LAYOUT, 50, True).fingerprint
SKETCH = np.full(12, 1.0, "<f2").tobytes()
NEED = Need("linear", FINGERPRINT, 0, 0, 1, SKETCH, 100, 30, 20)


def test_a_model_of_the_job_is_marked_at_its_commit_where_it_goes_into_use_and_back() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        for name in "abc":
            field.cores[name].field.publish(NEED)
        job = field.ask("a", like=SKETCH, stop=StopRule(rounds=4))

        def ended() -> bool:
            runners = [field.cores[n].jobs.runners.get(job) for n in "abc"]
            return all(r is not None and r.state() == "finished" for r in runners)

        assert await field.until(ended, 300)
        head = field.runner("a", job).head()
        assert head is not None
        watcher = Watcher(field.cores["a"], lambda: OWN)

        def marks() -> dict[str, Any]:
            found = watcher.look(asyncio.get_running_loop().time()).get("marks", {})
            return {k: row for k, row in found.items() if row["kind"] in ("use", "unuse")}

        assert marks() == {}
        adopted = Use("linear", FINGERPRINT, 0, 0, job, head.id, b"", "adopted", 0.0, 20, 9, 0)
        field.cores["b"].field.publish(adopted)
        own = replace(adopted, commit=b"")  # fine-tuned from the job's result
        field.cores["c"].field.publish(own)
        assert await field.until(lambda: len(field.cores["a"].field.uses("linear")) == 2, 100)
        [row] = marks().values()
        assert (row["job"], row["age_s"], row["kind"]) == (job.hex(), round(head.age_s, 2), "use")
        assert sorted(row["nodes"]) == ["b", "c"]
        assert row["text"] == f"round 4 is in use on {', '.join(row['nodes'])}"
        assert marks() == {}, "it is told once"
        field.cores["a"].field.publish(replace(adopted, live_n=40))
        [row] = marks().values()
        assert len(row["nodes"]) == 3, "the same mark, with one more node"
        back = replace(adopted, commit=b"", former=head.id, reason="returned")
        field.cores["a"].field.publish(back)
        [row] = marks().values()
        assert (row["kind"], row["nodes"], row["age_s"]) == ("unuse", ["a"], round(head.age_s, 2))
        assert row["text"] == "round 4 was taken out of use on a"
        field.cores["a"].field.publish(replace(back, commit=bytes(32), former=b"", reason="forced"))
        assert marks() == {}, "of no job"
        await field.close()

    run(main(), until_s=2_000)
