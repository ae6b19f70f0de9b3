"""The programs that use the models: one process that sends pictures to all nodes' servers over HTTP.

    python -m muster.cli.demo.adapt.generator TASK WORLD.npz SEED NAME=HOME ...

Reads `Orders` as JSON lines from stdin and ends with it; writes a `Tally` a node twice a second.  It knows
every picture's label, and each model's answer: it counts answers that are right, requests that fail, and
answers that are mixed, which is to say not those of the version that they name.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from muster.cli.demo.adapt.client import Connection
from muster.cli.demo.adapt.expected import Expected
from muster.cli.demo.adapt.world import CLASSES, World, load
from muster.serving.paths import folder_of
from muster.serving.report import read_report

TELL_S = 0.5
WINDOW = 100  # answers that the accuracy is of
SERVER_S = 0.5  # between looks for a server that is not up yet
FAULTS_KEPT = 5


class Orders(msgspec.Struct, frozen=True):
    """What a node's camera does from now on."""

    node: str
    turned: bool = False
    digits: tuple[int, ...] = tuple(range(CLASSES))  # that it sees
    rate: float = 20.0  # pictures a second; 0: it rests
    learn: int = 0  # more labels that its owner gives, of pictures that are trained on
    check: int = 0  # the same of pictures that are not, once the others are given
    labels_s: float = 5.0  # labels a second


class Tally(msgspec.Struct):
    """What came of it, since the start; `right` and `of` of the newest answers of the model in use."""

    requests: int = 0
    failed: int = 0
    mixed: int = 0
    labelled: int = 0
    right: int = 0
    of: int = 0
    version: str = ""
    swaps: int = 0
    labelled_at_swap: int = 0  # `labelled` when the model changed last
    waiting: int = 0  # labels that are ordered and not given yet
    slowest_ms: float = 0.0
    faults: list[str] = []


class Tensor(msgspec.Struct):
    name: str
    data: list[float]


class Answer(msgspec.Struct):
    model_version: str
    id: str
    outputs: list[Tensor]


class Camera:
    """One node's pictures and requests."""

    def __init__(self, node: str, home: Path, task: str, world: World, seed: int) -> None:
        self.tally = Tally()
        self._node, self._task, self._world = node, task, world
        self._folder = folder_of(home, task)
        self._random = np.random.default_rng((seed, *node.encode()))
        self._orders = Orders(node, rate=0.0)
        self._expected = Expected(self._folder)
        self._learn = deque(world.learn.get(node, ()))
        self._check = deque(world.check.get(node, ()))
        self._left = {"learn": 0, "check": 0}
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._label_s = 0.0
        self._ordered = asyncio.Event()
        self._connection: Connection | None = None
        self._number = 0

    def order(self, orders: Orders) -> None:
        """From now on."""
        if (orders.turned, orders.digits) != (self._orders.turned, self._orders.digits):
            self._window.clear()
        self._left["learn"] += orders.learn
        self._left["check"] += orders.check
        self._orders = orders
        self._ordered.set()

    def tell(self) -> Tally:
        self.tally.right, self.tally.of = sum(self._window), len(self._window)
        self.tally.waiting = sum(self._left.values())
        return self.tally

    async def run(self) -> None:
        """Send pictures as ordered, one after the other, until cancelled."""
        try:
            await self._send()
        finally:
            if self._connection is not None:
                self._connection.close()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            rate = self._orders.rate  # other orders may come while an answer is waited for
            if rate <= 0:
                self._ordered.clear()
                await self._ordered.wait()
                due_s = loop.time()
                continue
            if self._connection is None and not await self._found():
                continue
            await self._ask()
            due_s = max(due_s + 1 / rate, loop.time() - 1.0)  # what is late is not made up for
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _found(self) -> bool:
        """Whether the server has said where it is."""
        report = read_report(self._folder)
        if report is None or not report.pid or not report.version:
            await asyncio.sleep(SERVER_S)
            return False
        self._connection = Connection(report.url)
        return True

    def _next(self, now_s: float) -> tuple[int, bool]:
        """A picture's place, and whether its label is given."""
        if now_s >= self._label_s:
            for kind, rows in (("learn", self._learn), ("check", self._check)):
                if self._left[kind] and rows:
                    self._left[kind] -= 1
                    self._label_s = max(self._label_s, now_s - 1.0) + 1 / self._orders.labels_s
                    return int(rows.popleft()), True
        return int(self._random.choice(self._world.seen(self._orders.digits))), False

    async def _ask(self) -> None:
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        row, labelled = self._next(loop.time())
        picture = self._world.pictures(self._orders.turned)[row]
        self._number += 1
        id_ = f"{self._node}-{self._number}"
        began_s = loop.time()
        answer = await self._infer(id_, picture.tobytes(), picture.shape)
        if answer is None:
            return
        self.tally.slowest_ms = max(self.tally.slowest_ms, 1000 * (loop.time() - began_s))
        output = next((tensor.data for tensor in answer.outputs if tensor.name == "output"), [])
        if answer.model_version != self.tally.version:
            self.tally.swaps += bool(self.tally.version)
            self.tally.version, self.tally.labelled_at_swap = answer.model_version, self.tally.labelled
            self._window.clear()
        try:
            if answer.id != id_ or not self._expected.fits(answer.model_version, picture, output):
                self.tally.mixed += 1
                self._fault(f"an answer is not that of {answer.model_version}")
        except OSError as error:
            self.tally.mixed += 1
            self._fault(f"there is no model {answer.model_version}: {error.strerror}")
        label = int(self._world.labels[row])
        self._window.append(bool(output) and int(np.argmax(output)) == label)
        if labelled:
            await self._give(id_, label)

    async def _infer(self, id_: str, picture: bytes, shape: tuple[int, ...]) -> Answer | None:
        """A picture as the protocol's binary extension has it, the answer in JSON."""
        tensor = {
            "name": "input", "shape": [1, *shape], "datatype": "UINT8",
            "parameters": {"binary_data_size": len(picture)},
        }  # fmt: skip
        head = msgspec.json.encode({"id": id_, "inputs": [tensor], "outputs": [{"name": "output"}]})
        found = await self._post("infer", head + picture, {"inference-header-content-length": str(len(head))})
        try:
            return None if found is None else msgspec.json.decode(found, type=Answer)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            self.tally.failed += 1
            self._fault(f"the answer is malformed: {error}")
            return None

    async def _give(self, id_: str, label: int) -> None:
        body = msgspec.json.encode({"id": id_, "labels": [label]})
        if await self._post("feedback", body, {}) is not None:
            self.tally.labelled += 1

    async def _post(self, what: str, body: bytes, headers: dict[str, str]) -> bytes | None:
        """The answer's body; None, counted as failed: there is none, or it is an error."""
        assert self._connection is not None
        self.tally.requests += 1
        try:
            status, found = await self._connection.post(f"/v2/models/{self._task}/{what}", body, headers)
        except (OSError, TimeoutError, ValueError) as error:
            self.tally.failed += 1
            self._fault(f"{what}: {error or type(error).__name__}")
            await asyncio.sleep(SERVER_S)
            return None
        if status != 200:
            self.tally.failed += 1
            self._fault(f"{what}: {status} {found[:200].decode('utf-8', 'replace')}")
            return None
        return found

    def _fault(self, said: str) -> None:
        if len(self.tally.faults) < FAULTS_KEPT:
            self.tally.faults.append(said)


async def main(task: str, world: Path, seed: int, homes: dict[str, Path]) -> None:
    """Run all cameras until stdin ends."""
    found = load(world)
    cameras = {node: Camera(node, home, task, found, seed) for node, home in homes.items()}
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def tell() -> None:
        while True:
            said = msgspec.json.encode({node: camera.tell() for node, camera in cameras.items()})
            sys.stdout.buffer.write(said + b"\n")
            sys.stdout.buffer.flush()
            await asyncio.sleep(TELL_S)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(camera.run()) for camera in cameras.values()]
        running.append(group.create_task(tell()))
        while line := await reader.readline():
            orders = msgspec.json.decode(line, type=Orders)
            cameras[orders.node].order(orders)
        for one in running:
            one.cancel()


if __name__ == "__main__":
    _, task_name, world_path, seed_text, *pairs = sys.argv
    asyncio.run(
        main(
            task_name,
            Path(world_path),
            int(seed_text),
            {n: Path(h) for n, h in (p.split("=", 1) for p in pairs)},
        )
    )
