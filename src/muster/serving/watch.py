"""Whether what the model meets has changed: by how sure its answers are, and by its inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from muster.adaptation.input_sketch import SECOND_THRESHOLD, InputNoticing
from muster.adaptation.noticing import Alarm, Noticing
from muster.serving.models import Loaded


class Watch:
    """Begins again with each model: another one is certain of other things."""

    def __init__(self) -> None:
        self._version = ""
        self._answers: Noticing | None = None
        self._inputs: InputNoticing | None = None
        self.alarms, self.alarm_t, self.alarm_what = 0, 0.0, ""

    def swap(self, loaded: Loaded) -> None:
        """Another model is in use."""
        self._version, self._answers, self._inputs = loaded.version, None, None
        if loaded.classifies:
            self._answers = Noticing()
        if len(loaded.inputs) == 1:  # a model may be sure of what it has never met
            self._inputs = InputNoticing(SECOND_THRESHOLD) if loaded.classifies else InputNoticing()

    def see(self, entropy: NDArray[Any] | None, kept: NDArray[Any] | None) -> Alarm | None:
        """Take the entropy of each of a request's answers, and those of its samples that are kept."""
        found: Alarm | None = None
        if self._answers is not None and entropy is not None:
            alarms = self._answers.see_all(entropy.tolist())
            found = alarms[-1] if alarms else None
        if self._inputs is not None and kept is not None:
            found = self._inputs.see(kept) or found
        if found is not None:
            for look in self._looks().values():  # one change, one alarm
                look.reset()
            self.alarms += 1
            self.alarm_t, self.alarm_what = time.time(), found.what
        return found

    @property
    def by(self) -> str:
        """By what changes are noticed: "entropy", "inputs", "entropy and inputs", or "" for not at all."""
        return " and ".join(self._looks())

    def _looks(self) -> dict[str, Noticing | InputNoticing]:
        looks = {"entropy": self._answers, "inputs": self._inputs}
        return {name: look for name, look in looks.items() if look is not None}

    def state(self) -> dict[str, Any]:
        """What a later process of this server goes on from."""
        looks = {name: look.state() for name, look in self._looks().items()}
        return {"version": self._version, "looks": looks}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` where it is of this model."""
        if state.get("version") != self._version or not isinstance(looks := state.get("looks"), Mapping):
            return
        for name, look in self._looks().items():
            try:
                look.take_up(looks.get(name, {}))
            except (ValueError, TypeError, AttributeError):  # a damaged file: a new reference
                look.reset()
