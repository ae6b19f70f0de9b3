"""Clients of a serving node: a camera looks at digits, asks what they are, and says what some were."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from muster.learning import digits
from muster.learning.digits import DEVIATION, MEAN
from patience import patient_s

SAMPLES = 5  # in a request
PAUSE_S = 0.01


def pixels() -> tuple[np.ndarray, np.ndarray]:
    """The digits that no job trains on: uint8 (n, 8, 8), and what they are."""
    x, y = digits.Digits().evaluation_data()
    return np.rint(np.asarray(x) * DEVIATION + MEAN).astype(np.uint8)[:, 0], np.asarray(y)


class Camera:
    """Asks all the time, in a thread. `turn()` turns what it sees, `label(n)` has it label some samples."""

    def __init__(self, port: int, task: str = "digits", seed: int = 0) -> None:
        self._port, self._task, self._random = port, task, np.random.default_rng(seed)
        self.x, self.y = pixels()
        self.answers: list[tuple[bool, str]] = []  # right?, and by which version
        self.failures: list[str] = []
        self._labels_due, self.labelled = 0, 0
        self._wrong_labels = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self) -> None:
        """Upside down: a quarter turn would leave this model as certain as it was, of wrong answers."""
        self.x = np.rot90(self.x, 2, axes=(1, 2)).copy()

    def label(self, count: int) -> None:
        """So many of the next samples get their labels."""
        self._labels_due += count

    def close(self) -> None:
        self._over.set()
        self._thread.join(patient_s(20))

    def accuracy(self, last: int = 200) -> float:
        """Of the last so many answers."""
        rights = [right for right, _ in self.answers[-last:]]
        return sum(rights) / len(rights)

    def _run(self) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            rows = self._random.integers(0, len(self.x), SAMPLES)
            try:
                self._ask(f"{self._port}-{number}", self.x[rows], self.y[rows])
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(PAUSE_S)

    def _ask(self, id_: str, x: np.ndarray, y: np.ndarray) -> None:
        tensor = {"name": "input", "shape": list(x.shape), "datatype": "UINT8", "data": x.ravel().tolist()}
        answer = self._post("infer", {"id": id_, "inputs": [tensor]})
        if answer is None:
            return
        output = next(o for o in answer["outputs"] if o["name"] == "output")
        found = np.asarray(output["data"]).reshape(output["shape"]).argmax(1)
        self.answers += [(bool(a == b), answer["model_version"]) for a, b in zip(found, y, strict=True)]
        if self._labels_due > 0:
            given = min(self._labels_due, len(y))
            if self._post("feedback", {"id": id_, "labels": y[:given].tolist()}) is not None:
                self._labels_due -= given
                self.labelled += given

    def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patient_s(20))
        try:
            connection.request("POST", f"/v2/models/{self._task}/{what}", json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                self.failures.append(f"{what}: {answer.status} {text[:200]!r}")
                return None
            return json.loads(text)  # type: ignore[no-any-return]
        finally:
            connection.close()


def until(holds: Callable[[], object], limit_s: float, what: Callable[[], object] = lambda: "") -> None:
    """Processes are waited for: there is nothing to be told by."""
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s, what()
        time.sleep(0.1)
