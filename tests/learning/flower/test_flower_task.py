"""Flower apps as tasks, on the real flwr: the message API, NumPyClient, and what is wrong with an app."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.learning.arrays import array_task, kept_bytes
from muster.learning.faults import TaskFault
from muster.learning.flower.task import FlowerTask, directions, load_app
from muster.learning.metrics import declared
from muster.learning.task import FitRecipe, Task

NUMPY_CLIENT = """
import numpy as np
from flwr.client import ClientApp, NumPyClient

GOAL = np.arange(4, dtype=np.float32)

class Client(NumPyClient):
    def __init__(self, share):
        self.share = share

    def get_parameters(self, config):
        return [np.random.normal(size=4).astype(np.float32), np.zeros((), np.float32)]

    def fit(self, parameters, config):
        w, bias = parameters
        return [w + self.share * (GOAL - w), bias + np.float32(1)], 40, {"train_loss": 0.5}

    def evaluate(self, parameters, config):
        return float(((parameters[0] - GOAL) ** 2).sum()), 10, {"accuracy": 0.5, "place": "here"}

def client_fn(context):
    return Client(context.node_config["share"]).to_client()

app = ClientApp(client_fn)
"""
SERVER_FN = """
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

def server_fn(context):
    start = ndarrays_to_parameters([np.full(4, 7, np.float32), np.zeros((), np.float32)])
    strategy = FedAvg(initial_parameters=start, on_fit_config_fn=lambda round: {"lr": 0.25})
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=3))

server = ServerApp(server_fn=server_fn)
plain = ServerApp(server_fn=lambda context: ServerAppComponents(strategy=FedAvg(), config=ServerConfig(2)))
"""
MESSAGES = """
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
import numpy as np

app = ClientApp()

@app.train()
def train(message, context):
    calls = context.state.setdefault("calls", MetricRecord({"n": 0}))
    calls["n"] += 1
    w = message.content["arrays"].to_numpy_ndarrays()[0]
    rate = message.content["config"].get("lr", 1.0)
    arrays = ArrayRecord([w + np.float32(rate)])
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": calls["n"]})}),
                   reply_to=message)

def start(seed):
    return [np.full(2, seed, np.float32)]
"""


def begun(task: Task, seed: int = 0) -> tuple[array_task.Arrays, Any]:
    arrays = array_task.initial(task, seed)
    return arrays, array_task.layout_of(task, arrays)


def test_the_quickstart_app_learns_as_it_is(example: Path) -> None:
    nodes = [load_app(str(example), {"part": part, "parts": 3}) for part in range(3)]
    assert (nodes[0].name, nodes[0].version) == ("flower-quickstart", "1.0.0")
    arrays, layout = begun(nodes[0])
    assert nodes[0].defaults == {"steps": 1, "server_momentum": 0.0, "lr": 0.1, "rounds": 4}
    learnt = {spec.name: spec.learnt for spec in layout.tensors}
    assert learnt["layers.0.weight"]
    assert not learnt["layers.1.running_var"]
    assert all(np.array_equal(arrays[n], a) for n, a in begun(nodes[1])[0].items())
    assert not np.array_equal(arrays["layers.0.weight"], begun(nodes[0], 1)[0]["layers.0.weight"])
    for _ in range(4):
        done = [array_task.fit(task, layout, arrays, FitRecipe(lr=0.1), 1, n) for n, task in enumerate(nodes)]
        assert [f.examples for f in done] == [200, 200, 200]
        assert all(0 < f.loss < 2 for f in done)
        arrays = {n: np.mean([f.arrays[n] for f in done], axis=0).astype(a.dtype) for n, a in arrays.items()}
    figures = array_task.measure(nodes[2], arrays)
    assert set(figures) == {"accuracy", "loss"}
    assert figures["accuracy"][0] / figures["accuracy"][1] > 0.8


def test_a_numpy_client_begins_with_its_own_parameters(app: Callable[..., FlowerTask]) -> None:
    task = app(NUMPY_CLIENT, flower_node={"share": 0.5})
    arrays, layout = begun(task, 3)
    assert [(s.name, s.shape) for s in layout.tensors] == [("0", (4,)), ("1", ())]
    assert np.array_equal(arrays["0"], begun(task, 3)[0]["0"])
    assert not np.array_equal(arrays["0"], begun(task, 4)[0]["0"])
    fitted = array_task.fit(task, layout, arrays, FitRecipe(), 2, 0)  # two steps: two messages
    assert fitted.arrays["0"] == pytest.approx(arrays["0"] + 0.75 * (np.arange(4) - arrays["0"]), rel=1e-5)
    assert (float(fitted.arrays["1"]), fitted.examples, fitted.loss) == (2.0, 40, 0.5)
    far = float(((fitted.arrays["0"] - np.arange(4)) ** 2).sum())
    found = array_task.measure(task, fitted.arrays)
    assert found == {"loss": (pytest.approx(10 * far), 10.0), "accuracy": (5.0, 10.0)}


def test_a_server_fn_says_what_it_begins_with(app: Callable[..., FlowerTask]) -> None:
    options: dict[str, Any] = {"flower_node": {"share": 0.5}}
    task = app(NUMPY_CLIENT + SERVER_FN, flower_server="an_app:server", **options)
    assert begun(task)[0]["0"].tolist() == [7.0] * 4
    assert task.defaults["lr"] == 0.25
    plain = app(NUMPY_CLIENT + SERVER_FN, flower_server="an_app:plain", **options)
    assert not np.array_equal(begun(plain, 1)[0]["0"], begun(plain, 2)[0]["0"])  # it asks a client


def test_train_functions_alone_need_a_start_and_need_no_evaluate(app: Callable[..., FlowerTask]) -> None:
    with pytest.raises(TaskFault, match="flower_server"):
        begun(app(MESSAGES))
    task = app(MESSAGES, flower_initial="an_app:start")
    arrays, layout = begun(task, 5)
    assert arrays["0"].tolist() == [5.0, 5.0]
    assert array_task.fit(task, layout, arrays, FitRecipe(), 3, 0).examples == 3  # its state is kept
    assert array_task.fit(task, layout, arrays, FitRecipe(), 1, 0).examples == 4
    assert array_task.measure(task, arrays) == {}
    assert task.defaults == {"steps": 1, "server_momentum": 0.0}


def test_the_jobs_rate_replaces_the_apps(example: Path) -> None:
    task = load_app(str(example), {})
    arrays, layout = begun(task)
    slow, fast = (array_task.fit(task, layout, arrays, FitRecipe(lr=lr), 1, 0) for lr in (1e-6, 0.1))
    moved = [
        float(np.abs(f.arrays["layers.3.weight"] - arrays["layers.3.weight"]).max()) for f in (slow, fast)
    ]
    assert moved[0] < 1e-4 < 1e-2 < moved[1]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (MESSAGES, {"flower_server": "an_app"}, "module:name"),
        (MESSAGES, {"flower_server": "no_such_app:app"}, "no_such_app"),
        (MESSAGES, {"flower_server": "an_app:server"}, "has no 'server'"),
        (MESSAGES.replace("RecordDict({\"arrays\": arrays,", "RecordDict({"), {}, "no arrays"),
        (MESSAGES.replace("num-examples", "examples"), {}, "num-examples"),
        (NUMPY_CLIENT.replace("get_parameters", "other"), {"flower_node": {"share": 1.0}}, "get_parameters"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_app_is_said(
    app: Callable[..., FlowerTask], text: str, options: dict[str, Any], said: str
) -> None:
    if text.startswith(MESSAGES[:40]) and not options:
        options = {"flower_initial": "an_app:start"}

    def try_it() -> None:
        task = app(text, **options)
        arrays, layout = begun(task)
        array_task.fit(task, layout, arrays, FitRecipe(), 1, 0)

    with pytest.raises(TaskFault, match=said):
        try_it()


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskFault, match="names the module"):
        load_app("some", {"flower": "no_such_app.client_app:app", "name": "some"})


def test_figures_have_directions_by_their_names_unless_said() -> None:
    found = directions(["loss", "f1", "rmse", "accuracy", "perplexity"], {})
    assert next(iter(found.items())) == ("accuracy", "max")
    assert found == {"accuracy": "max", "f1": "max", "rmse": "min", "perplexity": "min", "loss": "min"}
    said = directions(["loss", "f1"], {"f1": "min"})
    assert list(said.items()) == [("f1", "min"), ("loss", "min")]
    many = directions([f"figure{n}" for n in range(40)], {})
    assert len(many) < 16  # the loss joins them


def test_what_an_app_measures_becomes_the_jobs_metrics(app: Callable[..., FlowerTask]) -> None:
    task = app(NUMPY_CLIENT.replace('"accuracy": 0.5', '"eval F1 score": 0.5'), flower_node={"share": 0.5})
    figures = array_task.measure(task, begun(task)[0])
    assert set(figures) == {"loss", "f1_score"}
    assert [(m.name, m.best) for m in declared(task, figures)] == [("f1_score", "max"), ("loss", "min")]


def test_the_state_of_an_app_is_one_of_each_job_and_survives_a_restart(
    app: Callable[..., FlowerTask], tmp_path: Path
) -> None:
    def rounds(task: FlowerTask, job: str) -> int:
        """How many rounds the app says that it did for `job`."""
        arrays, layout = begun(task)
        task.keep(kept_bytes.load(tmp_path / job))
        examples = array_task.fit(task, layout, arrays, FitRecipe(), 1, 0).examples
        kept_bytes.save(tmp_path / job, task.kept())
        return examples

    one = app(MESSAGES, flower_initial="an_app:start")
    assert [rounds(one, "a"), rounds(one, "a"), rounds(one, "b")] == [1, 2, 1]
    again = app(MESSAGES, flower_initial="an_app:start")
    assert [rounds(again, "a"), rounds(again, "b")] == [3, 2]
    (tmp_path / "a.kept").write_bytes(b"\xff\xffno state")
    assert rounds(again, "a") == 1
