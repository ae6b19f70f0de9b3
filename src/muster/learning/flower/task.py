"""A Flower app as a task of named arrays: `train` is its local work, `evaluate` its figures."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from muster.learning.faults import TaskFault
from muster.learning.flower import app as apps
from muster.learning.flower.start import FirstRound, first_round
from muster.learning.task import Task, check_name
from muster.protocol.validation.limits import METRIC_CHARS_MAX, METRICS_MAX

COUNTS = ("num-examples", "num_examples")
RATES = ("lr", "learning-rate", "learning_rate")
ROUNDS = ("num-server-rounds", "num_server_rounds", "num-rounds")
# Names of the records in a message: of the message API, and of a `client_fn`.
MESSAGE = {"train": ("arrays", "config"), "evaluate": ("arrays", "config")}
CLIENT_FN = {
    "train": ("fitins.parameters", "fitins.config"),
    "evaluate": ("evaluateins.parameters", "evaluateins.config"),
}
SMALL_IS_GOOD = ("loss", "error", "mae", "mse", "perplexity", "distance")
_ODD = re.compile(r"[^a-z0-9_.@/-]")
_PREFIX = re.compile(r"^(eval|evaluate|val|valid|validation|test|train)[-_ ]")


class FlowerTask(Task):
    """`flower` names the ClientApp, "module:app"; `folder` is the app's, with its pyproject.toml.

    A step is one message to train: the app decides what it does in it.
    """

    options: dict[str, Any] = {  # noqa: RUF012 - a declaration
        "flower_server": "",  # "module:app", the ServerApp; else the pyproject.toml's
        "flower_initial": "",  # "module:function", of a seed: the first arrays
        "flower_config": {},  # over [tool.flwr.app.config] of the pyproject.toml
        "flower_node": {},  # into the node's configuration, beside partition-id and num-partitions
        "flower_metrics": {},  # name -> "max" or "min", of figures that Muster does not know
        # averaged, never extrapolated: by torch's names, as a message does not say what is learnt
        "flower_statistics": ["*running_mean", "*running_var"],
    }

    def __init__(
        self, *, name: str = "", folder: Path | None = None, flower: str = "", **options: Any
    ) -> None:
        said = apps.read_folder(folder)
        self.name = name or said.name or (folder.name if folder is not None else "")
        self.version = said.version
        super().__init__(**options)
        given: dict[str, Any] = {**type(self).options, **self.options}
        self.statistics = tuple(given["flower_statistics"])
        self._directions: dict[str, Any] = given["flower_metrics"]
        self._flwr = apps.flower("flwr.app")
        self._folder, self._initial = folder, str(given["flower_initial"])
        self._client = apps.load_object(flower or said.client, folder, "flower")
        self._names = CLIENT_FN if getattr(self._client, "_call", None) is not None else MESSAGE
        server = given["flower_server"] or said.server
        self._server = apps.load_object(server, folder, "flower_server") if server else None
        self._run_config = {**said.config, **apps.flat(given["flower_config"])}
        self._node_config: dict[str, Any] = {"partition-id": self.part, "num-partitions": self.parts}
        if self.data is not None:
            self._node_config["data-path"] = str(self.data)
        self._node_config |= given["flower_node"]
        self._context = self._new_context(self.part + 1)
        self._first: tuple[int, FirstRound] | None = None

    # ---- the hooks of a task -------------------------------------------------------------------------

    def initial(self, seed: int) -> dict[str, Any]:
        """Of `flower_initial`, else the ServerApp's first message, else the client's get_parameters."""
        return _arrays(self._first_round(seed).arrays)

    def fit(
        self, arrays: dict[str, Any], steps: int, seed: int
    ) -> tuple[dict[str, Any], int, dict[str, Any]]:
        apps.seed_everything(seed)
        found: dict[str, float] = {}
        for step in range(steps):
            content = self._ask("train", arrays)
            record = next(iter(content.array_records.values()), None)
            if record is None:
                raise TaskFault("the ClientApp's reply to train has no arrays")
            arrays, found = _arrays(record), _numbers(content)
            self.recipe.report(step + 1)
        losses = [value for name, value in found.items() if _plain(name) == "loss"]
        return arrays, _count(found, "train"), {"loss": losses[0]} if losses else {}

    def measure(self, arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Each number of the reply to evaluate; none when the app has no evaluate."""
        try:
            content = self._ask("evaluate", arrays)
        except ValueError as error:
            if "No evaluate function registered" not in str(error):
                raise
            return {}
        found = _numbers(content)
        if not found:
            return {}
        count = _count(found, "evaluate")
        figures: dict[str, tuple[float, float]] = {}
        for name, value in found.items():
            if name not in COUNTS and (self.metrics is None or _plain(name) in self.metrics):
                figures.setdefault(_plain(name), (value * count, count))
        if self.metrics is None:
            self.metrics = directions(figures, self._directions)
        return figures

    def kept(self) -> bytes:
        """The state of the app's context, as flwr writes it."""
        serde = apps.flower("flwr.common.serde")
        data: bytes = serde.recorddict_to_proto(self._context.state).SerializeToString()
        return data

    def keep(self, data: bytes) -> None:
        state = self._flwr.RecordDict()
        if data:
            serde, proto = apps.flower("flwr.common.serde"), apps.flower("flwr.proto.recorddict_pb2")
            # a state of another version of flwr is as good as none
            with contextlib.suppress(apps.flower("google.protobuf.message").DecodeError, ValueError):
                state = serde.recorddict_from_proto(proto.RecordDict.FromString(data))
        self._context.state = state

    # ---- messages ------------------------------------------------------------------------------------

    def _ask(self, kind: str, arrays: dict[str, Any]) -> Any:
        """The content of the ClientApp's reply to a message with `arrays`. Raises TaskFault."""
        flwr, (arrays_name, config_name) = self._flwr, self._names[kind]
        config = dict(self._first_round(None).config)
        for key in RATES:
            if isinstance(config.get(key), float):
                config[key] = float(self.recipe.lr)
        if "server-round" in config:
            config["server-round"] = self.recipe.round
        record = flwr.ArrayRecord({name: flwr.Array(np.asarray(array)) for name, array in arrays.items()})
        content = flwr.RecordDict({arrays_name: record, config_name: flwr.ConfigRecord(config)})
        return self._content(self._client_reply(content, kind), kind)

    def _client_reply(self, content: Any, kind: str) -> Any:
        apps.identify(0)
        return self._answer(self._flwr.Message(content, dst_node_id=self._context.node_id, message_type=kind))

    def _answer(self, message: Any) -> Any:
        return self._client(message, self._context)

    def _content(self, reply: Any, kind: str) -> Any:
        if reply.has_error():
            raise TaskFault(f"the ClientApp answers {kind} with an error: {reply.error.reason}")
        for name, record in reply.content.config_records.items():  # of a client_fn
            if name.endswith(".status") and record.get("code", 0) not in (0, 3):  # 3: evaluate is not there
                raise TaskFault(f"the ClientApp answers {kind} with: {record.get('message')}")
        return reply.content

    # ---- the start -----------------------------------------------------------------------------------

    def _first_round(self, seed: int | None) -> FirstRound:
        """The arrays and the configuration to begin with; any seed's when it is None."""
        if self._first is None or seed not in (None, self._first[0]):
            number = 0 if seed is None else seed
            apps.seed_everything(number)
            self._first = (number, self._begin(number))
            self.defaults = self._defaults(self._first[1])
        return self._first[1]

    def _defaults(self, first: FirstRound) -> dict[str, Any]:
        """What a job takes unless it says otherwise: the app's own rate and rounds, and plain averaging."""
        known: dict[str, Any] = {"steps": 1, "server_momentum": 0.0}
        rate = next((first.config[key] for key in RATES if isinstance(first.config.get(key), float)), None)
        rounds = next((self._run_config[k] for k in ROUNDS if isinstance(self._run_config.get(k), int)), None)
        return known | ({"lr": rate} if rate else {}) | ({"rounds": rounds} if rounds else {})

    def _begin(self, seed: int) -> FirstRound:
        first = None
        if self._server is not None:
            first = first_round(self._server, self._new_context(0), self._answer)
        if self._initial:
            made = apps.load_object(self._initial, self._folder, "flower_initial")(seed)
            return FirstRound(made, first.config if first is not None else {})
        if first is not None:
            return first
        if self._names is not CLIENT_FN:
            raise TaskFault(
                "a Flower app of train and evaluate functions does not say what it begins with: name its"
                ' ServerApp by flower_server = "module:app", or a function of the seed that returns the first'
                ' arrays by flower_initial = "module:function"'
            )
        flwr = self._flwr
        content = flwr.RecordDict({"getparametersins.config": flwr.ConfigRecord()})
        reply = self._content(self._client_reply(content, "get_parameters"), "get_parameters")
        record = next(iter(reply.array_records.values()), None)
        if not record:
            raise TaskFault(
                "the NumPyClient's get_parameters returns nothing: there are no arrays to begin with"
            )
        return FirstRound(record, {})

    def _new_context(self, node: int) -> Any:
        flwr = self._flwr
        return flwr.Context(1, node, dict(self._node_config), flwr.RecordDict(), dict(self._run_config))


def load_app(reference: str, options: dict[str, Any]) -> FlowerTask:
    """The app in the folder `reference`, or an installed one that the options name, as a task.

    Raises TaskFault, MusterError; what the app's own code raises passes through.
    """
    folder = Path(reference).expanduser().absolute()
    app = FlowerTask(folder=folder if folder.is_dir() else None, **options)
    check_name(app)
    return app


def directions(names: Iterable[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """Which of the figures is better larger and which smaller: as `said`, else by what they are called.

    The headline is the first that is said, else the accuracy, else what stands first.
    """
    found: dict[str, Any] = dict(said)
    ordered = sorted(names, key=lambda name: (name != "accuracy", name == "loss"))
    for name in ordered[: METRICS_MAX - 1 - len(said)]:
        small = any(part in name for part in SMALL_IS_GOOD)
        found.setdefault(name, "min" if small else "max")
    return found


def _arrays(record: Any) -> dict[str, Any]:
    """name -> array of an ArrayRecord, a dict (also of tensors) or a list."""
    items = record.items() if hasattr(record, "items") else ((str(n), a) for n, a in enumerate(record))
    return {str(name): _array(value) for name, value in items}


def _array(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def _numbers(content: Any) -> dict[str, float]:
    """The numbers in a reply's metrics; a `client_fn` keeps some of them among its configurations."""
    found: dict[str, float] = {}
    for records in (content.metric_records, content.config_records):
        for where, record in records.items():
            for name, value in record.items() if not where.endswith(".status") else ():
                if isinstance(value, (int, float)):
                    found.setdefault(name, float(value))
    return found


def _count(found: dict[str, float], kind: str) -> int:
    count = next((found[key] for key in COUNTS if key in found), None)
    if count is None or not math.isfinite(count) or count < 0:
        raise TaskFault(f"the ClientApp's reply to {kind} lacks num-examples in its metrics")
    return int(count)


def _plain(name: str) -> str:
    """ "eval_acc" -> "accuracy", "eval_loss" -> "loss"."""
    short = _ODD.sub("_", _PREFIX.sub("", name.lower())).lstrip("_")[:METRIC_CHARS_MAX]
    return {"acc": "accuracy"}.get(short, short)
