"""The routes of a server: what is answered, and what is refused in which words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import classifier
from serving_here import BLUE, FEEDBACK, GREEN, INFER, RED, TASK, Served, answers, request, served

from muster.local.local_set import LocalSet, path_of
from muster.serving import runner
from muster.serving.paths import folder_of, models_of, pointer_of
from muster.serving.pointer import use_model
from muster.serving.settings import ServeConfig


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_model_is_described_and_answers(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            assert (await s.get("/v2/health/live")).status == 200
            assert (await s.get("/v2/health/ready")).json() == {"ready": True}
            assert (await s.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
            model = (await s.get(f"/v2/models/{TASK}")).json()
            assert model["versions"] == ["first000"]
            assert model["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
            assert [out["name"] for out in model["outputs"]] == ["output", "confidence", "entropy"]
            assert model["parameters"] == {"classes": ["red", "green", "blue"]}
            assert (await s.get(f"/v2/models/{TASK}/versions/first000/ready")).status == 200
            reply = await s.infer([RED, BLUE], id="mine")
            assert answers(reply).argmax(1).tolist() == [0, 2]
            assert answers(reply, "confidence")[0] > 0.99
            assert reply.json()["id"] == "mine"
            assert reply.json()["model_version"] == "first000"
            one, two = [(await s.infer([RED])).json()["id"] for _ in range(2)]
            assert one != two

    asyncio.run(run())


def test_what_is_not_there(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            for reply, sentence in (
                (await s.get("/v2/models/other"), "there is no model 'other' here: this server has colours"),
                (await s.post("/v2/models/other/infer", {}), "there is no model 'other'"),
                (await s.post("/v2/models/other/feedback", {}), "this server has colours"),
                (await s.get(f"/v2/models/{TASK}/versions/zz"), "it is first000 now"),
                (await s.post(f"/v2/models/{TASK}/versions/zz/infer", {}), "it is first000 now"),
                (await s.get("/elsewhere"), "GET /elsewhere is nothing here"),
            ):
                assert reply.status == 404
                assert sentence in reply.json()["error"]
            assert (await s.get(INFER)).status == 405
            assert s.server.figures.rejected == 3

    asyncio.run(run())


def test_nothing_is_in_use_at_first(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home) as s:
            assert (await s.get("/v2/health/live")).status == 200
            assert (await s.get("/v2/health/ready")).status == 503
            reply = await s.infer([RED])
            assert reply.status == 503
            assert reply.json()["error"] == f"no model is in use for {TASK}: `muster use COMMIT`"
            assert reply.headers["retry-after"] == "5"
            use_model(folder_of(home, TASK), "later000", classifier(tmp_path / "a.onnx"), None, "first")
            await s.server.in_use.look()
            assert answers(await s.infer([GREEN])).argmax(1).tolist() == [1]

    asyncio.run(run())


def test_a_body_is_limited_and_plain(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        config = ServeConfig(body_mb=0.01)
        async with served(home, classifier(tmp_path / "a.onnx"), config=config) as s:
            large = await s.post(INFER, b" " * 10_001)
            assert large.status == 413
            assert "over the limit of 10000 bytes" in large.json()["error"]
            assert (await s.post(INFER, {}, content_encoding="gzip")).status == 415
            assert (await s.post(INFER, {}, inference_header_content_length="x")).status == 400
            assert (await s.post(INFER, b"{")).status == 400

    asyncio.run(run())


def test_a_large_body_is_read_beside_the_loop(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            rows = [[i % 3 == c for c in range(4)] for i in range(4000)]
            samples = np.asarray(rows, float).tolist()
            padded = {**request(samples), "parameters": {"padding": "x" * 300_000}}
            assert answers(await s.post(INFER, padded)).argmax(1).tolist() == [i % 3 for i in range(4000)]

    asyncio.run(run())


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}]
)
def test_other_sites_pages_are_refused(home: Path, tmp_path: Path, headers: dict[str, str]) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            for path in (f"/v2/models/{TASK}", "/v2/health/live", "/metrics"):
                assert (await s.get(path, **headers)).status == 403
            assert (await s.post(INFER, request([RED]), **headers)).status == 403

    asyncio.run(run())


def test_elsewhere_a_token_is_wanted(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx"), token="secret-secret-secret") as s:
            there = {"host": "10.0.0.1:7460"}
            for given in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Basic secret-secret-secret"},
            ):
                reply = await s.post(INFER, request([RED]), **there, **given)
                assert reply.status == 401
                assert "a token is wanted" in reply.json()["error"]
                assert (await s.get("/metrics", **there, **given)).status == 401
                assert (await s.get("/v2/health/ready", **there, **given)).status == 200
            right = {"authorization": "Bearer secret-secret-secret"}
            assert (await s.post(INFER, request([RED]), **there, **right)).status == 200

    asyncio.run(run())


def test_labels_find_the_samples_of_a_request(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            await s.infer([RED, GREEN, BLUE], id="r1")
            reply = await s.post(FEEDBACK, {"id": "r1", "labels": ["red", None, 2]})
            assert reply.json() == {"id": "r1", "labelled": 2, "unknown": 0}
            again = await s.post(FEEDBACK, {"id": "r1", "labels": [None, None, None, 1]})
            assert again.status == 404
            assert "'r1' is kept: 20 a second are" in again.json()["error"]
            for body, sentence in (
                ({"id": "r1", "labels": ["pink"]}, "no class 'pink': the model has red, green, blue"),
                ({"id": "r1", "labels": [3]}, "3 is no class: they are 0 to 2"),
                ({"id": "r1", "labels": [-1]}, "is no class"),
                ({"id": "r1", "labels": [0.5]}, "is no class"),
                ({"id": "r1", "labels": []}, "0 labels"),
                ({"id": "r1", "labels": [None]}, "there is no label"),
                ({"id": "r1"}, "malformed"),
            ):
                wrong = await s.post(FEEDBACK, body)
                assert wrong.status == 400
                assert sentence in wrong.json()["error"]
        with LocalSet.open(path_of(home, TASK)) as known:
            x, y, _ = known.labelled()
            assert (x.tolist(), y.tolist()) == ([RED, BLUE], [0, 2])
            assert known.counts().wrong == 0
            assert known.counts().labels == 2
            assert known.counts().unlabelled == 1

    asyncio.run(run())


def test_labels_find_a_new_request_beyond_the_rate_too(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx"), config=ServeConfig(keep_per_s=1)) as s:
            for i in range(40):
                await s.infer([RED], id=f"r{i}")
            for i in range(40):
                assert (await s.post(FEEDBACK, {"id": f"r{i}", "labels": 1})).status == 200
        with LocalSet.open(path_of(home, TASK)) as known:
            counts = known.counts()
            assert (counts.labelled, counts.labels, counts.wrong) == (40, 40, 40)  # each with its answer

    asyncio.run(run())


def test_requests_that_are_not_kept_are_forgotten_in_the_end(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx"), config=ServeConfig(keep=False)) as s:
            for i in range(1100):
                await s.infer([RED], id=f"r{i}")
            assert (await s.post(FEEDBACK, {"id": "r0", "labels": 1})).status == 404
            assert (await s.post(FEEDBACK, {"id": "r1099", "labels": 1})).status == 200

    asyncio.run(run())


def test_a_slow_model_has_a_queue_and_then_says_that_it_is_busy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IN_LOOP_S", 0.0)

    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx", width=64)) as s:
            replies = await asyncio.gather(*(s.infer([RED]) for _ in range(runner.QUEUE_MAX + 9)))
            statuses = [reply.status for reply in replies]
            assert statuses.count(200) == runner.QUEUE_MAX
            assert statuses.count(503) == s.server.figures.refused == 9
            busy = next(reply for reply in replies if reply.status == 503)
            assert busy.headers["retry-after"] == "1"
            assert "colours is busy: try again in 1 s" in busy.json()["error"]
            assert answers(await s.infer([BLUE])).argmax(1).tolist() == [2]

    asyncio.run(run())


def _corrupt_pointer(home: Path) -> None:
    pointer_of(folder_of(home, TASK)).write_bytes(b"{" * 100)


def _corrupt_model(home: Path) -> None:
    broken = home / "broken.onnx"
    broken.write_bytes(b"no model")
    use_model(folder_of(home, TASK), "broken00", broken, None, "forced")


def _other_bytes(home: Path) -> None:
    good = classifier(home / "good.onnx", 1)
    use_model(folder_of(home, TASK), "changed0", good, None, "forced")
    (models_of(folder_of(home, TASK)) / "changed0.onnx").write_bytes(b"bits that fell over")


def _gone(home: Path) -> None:
    pointer_of(folder_of(home, TASK)).unlink()


@pytest.mark.parametrize("harm", [_corrupt_pointer, _corrupt_model, _other_bytes, _gone])
def test_the_last_good_model_answers_whatever_the_pointer_says(
    home: Path, tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            harm(home)
            await s.server.in_use.look()
            assert answers(await s.infer([RED])).argmax(1).tolist() == [0]
            report = s.server.report()
            assert report.fault
            assert report.version == "first000"
            assert s.said[-1].endswith("first000 goes on answering")
            use_model(folder_of(home, TASK), "mended00", classifier(tmp_path / "b.onnx", 1), None, "mended")
            await s.server.in_use.look()
            assert answers(await s.infer([RED])).argmax(1).tolist() == [1]
            assert s.server.report().fault == ""

    asyncio.run(run())


def test_at_the_start_the_former_model_is_the_last_good_one(home: Path, tmp_path: Path) -> None:
    use_model(folder_of(home, TASK), "former00", classifier(tmp_path / "b.onnx", 1), None, "first")
    use_model(folder_of(home, TASK), "first000", classifier(tmp_path / "a.onnx"), None, "adopted")
    (models_of(folder_of(home, TASK)) / "first000.onnx").write_bytes(b"bits that fell over")

    async def run() -> None:
        async with served(home) as s:
            reply = await s.infer([RED])
            assert reply.json()["model_version"] == "former00"
            assert "hash differs" in s.server.report().fault

    asyncio.run(run())


def test_another_model_under_the_same_load(home: Path, tmp_path: Path) -> None:
    """Every answer is of the model that it names."""
    models = [classifier(tmp_path / f"{i}.onnx", i) for i in range(3)]
    digests = [hashlib.sha256(model.read_bytes()).hexdigest()[:8] for model in models]

    async def run() -> None:
        async with served(home, models[0]) as s:
            stop, checked = asyncio.Event(), 0

            async def load() -> None:
                nonlocal checked
                while not stop.is_set():
                    reply = await s.infer([RED])
                    version = reply.json()["model_version"]
                    favours = 0 if version == "first000" else digests.index(version)
                    assert answers(reply).argmax(1).tolist() == [favours]
                    checked += 1
                    await asyncio.sleep(0.002)  # threads load models meanwhile

            loads = [asyncio.create_task(load()) for _ in range(3)]
            for i in range(12):
                use_model(folder_of(home, TASK), digests[i % 3], models[i % 3], None, "test")
                await s.server.in_use.look()
                await asyncio.sleep(0.005)
            stop.set()
            await asyncio.gather(*loads)
            assert checked > 20
            assert s.server.figures.swaps == 12
            assert s.server.figures.failures == 0

    asyncio.run(run())


def test_new_labels_are_answered_by_both_models(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            use_model(folder_of(home, TASK), "second00", classifier(tmp_path / "b.onnx", 1), None, "adopted")
            await s.server.in_use.look()
            for i, (sample, label) in enumerate(((RED, 0), (GREEN, 1), (BLUE, 0), (RED, 2))):
                await s.infer([sample], id=f"r{i}")
                await s.post(FEEDBACK, {"id": f"r{i}", "labels": label})
            for _ in range(100):
                if s.server.figures.judged >= 4:
                    break
                await asyncio.sleep(0.05)
        with LocalSet.open(path_of(home, TASK)) as known:
            expected = [(False, True), (False, True), (True, False), (False, False)]
            assert known.verdicts("second00", "first000") == expected

    asyncio.run(run())


def test_a_change_begins_an_epoch_and_a_swap_a_new_reference(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx", scale=4.0)) as s:
            random = np.random.default_rng(0)

            async def ask(n: int, sure: float) -> None:
                for _ in range(n // 20):
                    samples = random.normal(0, 0.05, (20, 4)) + sure * np.eye(4)[random.integers(0, 3, 20)]
                    await s.infer(samples.tolist())

            await ask(1200, 1.0)
            assert s.server.watch.alarms == 0
            await ask(200, 0.1)
            assert s.server.watch.alarms == 1
            report = s.server.report()
            assert (report.alarms, report.noticing) == (1, "entropy and inputs")
            assert "less certain" in report.alarm_what
            assert report.alarm_t is not None
            assert any("labels are wanted" in said for said in s.said)
            use_model(folder_of(home, TASK), "second00", classifier(tmp_path / "b.onnx", 1), None, "adopted")
            await s.server.in_use.look()
            await ask(400, 1.0)  # other than before, and no alarm
            assert s.server.watch.alarms == 1
        with LocalSet.open(path_of(home, TASK)) as known:
            assert known.counts().epoch == 1

    asyncio.run(run())


def test_a_model_of_several_inputs_is_watched_by_its_entropy_and_its_samples_are_not_kept(
    home: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        rng = np.random.default_rng(0)
        async with served(home, classifier(tmp_path / "a.onnx", beside=True)) as s:

            async def ask(count: int, scale: float) -> None:
                for _ in range(count // 50):
                    body = request((rng.normal(1.0, 0.2, (50, 4)) * scale).tolist(), id="some")
                    body["inputs"].append(request([[0.0]] * 50)["inputs"][0] | {"name": "beside"})
                    assert (await s.post(INFER, body)).status == 200

            await ask(1200, 1.0)
            assert (s.server.watch.alarms, s.server.report().noticing) == (0, "entropy")
            await ask(200, 0.1)
            assert s.server.watch.alarms == 1
            assert (await s.post(FEEDBACK, {"id": "some", "labels": [0]})).status == 404
        with LocalSet.open(path_of(home, TASK)) as known:
            assert known.counts().unlabelled == 0

    asyncio.run(run())


def test_a_model_without_entropy_is_served_and_noticing_looks_at_inputs(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx", plain=True)) as s:
            assert answers(await s.infer([RED])).argmax(1).tolist() == [0]
            assert s.server.report().noticing == "inputs"
            assert (await s.get(f"/v2/models/{TASK}")).json()["outputs"][0]["name"] == "output"
            await s.infer([RED], id="r")
            assert (await s.post(FEEDBACK, {"id": "r", "labels": 0.25})).status == 200  # a value

    asyncio.run(run())


def test_a_full_disk_stops_the_keeping_of_samples_and_no_answer(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muster.local import database

    monkeypatch.setattr(database, "free_bytes", lambda path: 0)

    async def run(served_: Served) -> None:
        for _ in range(60):
            assert (await served_.infer([RED], id="r")).status == 200
        for _ in range(100):
            if served_.server.samples.fault:
                break
            await asyncio.sleep(0.05)
        assert "almost full" in served_.server.report().keeping
        assert (await served_.infer([RED])).status == 200
        assert sum("samples are not kept" in said for said in served_.said) == 1

    async def main() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            await run(s)

    asyncio.run(main())


def test_figures_for_prometheus(home: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(home, classifier(tmp_path / "a.onnx")) as s:
            await s.infer([RED])
            text = (await s.get("/metrics")).body.decode()
            assert 'muster_serving_requests_total{task="colours"} 1.0' in text
            assert 'muster_serving_model_info{task="colours",version="first000"} 1.0' in text
            assert "muster_serving_latency_99th_seconds" in text

    asyncio.run(run())
