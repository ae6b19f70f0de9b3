"""Whether what the model meets has changed: one detector over the answers of the model in use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from muster.adaptation.input_sketch import InputNoticing
from muster.adaptation.noticing import Alarm, Noticing
from muster.serving.models import Loaded


class Watch:
    """Begins again with each model: another one is certain of other things."""

    def __init__(self) -> None:
        self._version = ""
        self._detector: Noticing | InputNoticing | None = None
        self.alarms, self.alarm_t, self.alarm_what = 0, 0.0, ""

    def swap(self, loaded: Loaded) -> None:
        """Another model is in use."""
        self._version = loaded.version
        self._detector = (
            Noticing() if loaded.classifies else InputNoticing() if len(loaded.inputs) == 1 else None
        )

    def see(self, entropies: NDArray[Any] | None, kept: NDArray[Any] | None) -> Alarm | None:
        """Take the entropies of a request's answers, or those of its samples that are kept."""
        found: Alarm | None = None
        if isinstance(self._detector, Noticing):
            for entropy in entropies.tolist() if entropies is not None else ():
                found = self._detector.see(entropy) or found
        elif self._detector is not None and kept is not None:
            found = self._detector.see(kept)
        if found is not None:
            self.alarms += 1
            self.alarm_t, self.alarm_what = time.time(), found.what
        return found

    @property
    def by(self) -> str:
        """By what changes are noticed: "entropy", "inputs", or "" for not at all."""
        if self._detector is None:
            return ""
        return "entropy" if isinstance(self._detector, Noticing) else "inputs"

    def state(self) -> dict[str, Any]:
        """What a later process of this server goes on from."""
        state = self._detector.state() if self._detector is not None else {}
        return {"version": self._version, "by": self.by, "detector": state}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` where it is of this model."""
        if self._detector is None or (state.get("version"), state.get("by")) != (self._version, self.by):
            return
        try:
            self._detector.take_up(state.get("detector", {}))
        except (ValueError, TypeError, AttributeError):  # a damaged file: a new reference
            self._detector.reset()
