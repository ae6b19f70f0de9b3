"""The arrays that a Flower job begins with: what the app's own ServerApp sends out in its first round.

The ServerApp runs against a `Grid` that has nodes and no network.  The first message to train is what is
wanted: its arrays are the start, its configuration is what the ClientApp expects.  There the ServerApp ends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from muster.learning.faults import TaskFault
from muster.learning.flower.app import flower, identify

NODES = 256  # that the stand-in has: as many as a strategy may want before it begins


@dataclass(frozen=True)
class FirstRound:
    """The first message to train: its arrays (flwr's ArrayRecord) and its configuration."""

    arrays: Any
    config: dict[str, Any]


class _Seen(BaseException):
    """Ends the ServerApp; not an Exception, as strategies catch those."""


def first_round(server_app: Any, context: Any, answer: Callable[[Any], Any]) -> FirstRound:
    """What `server_app` sends out first; `answer` replies to what it asks before, such as get_parameters.

    Raises TaskFault when it ends without having anybody train; what it raises itself passes through.
    """
    identify(0)
    grid = _grid(answer)
    with contextlib.suppress(_Seen):
        server_app(grid, context)
    if grid.seen is None:
        raise TaskFault("the ServerApp ended before it had anybody train: no arrays to begin with")
    return first_of(grid.seen)


def first_of(content: Any) -> FirstRound:
    """The first arrays and the first configuration in a message's content (flwr's RecordDict)."""
    arrays = next(iter(content.array_records.values()), None)
    if arrays is None:
        raise TaskFault("the ServerApp's first message to train has no arrays")
    config: Mapping[str, Any] = next(iter(content.config_records.values()), {})
    return FirstRound(arrays, dict(config))


def _run_ended() -> type[BaseException]:
    """What ends the thread in which an older ServerApp counts its nodes."""
    try:
        ended: type[BaseException] = flower("flwr.server.compat.app_utils").RunNotRunningException
        return ended
    except (TaskFault, AttributeError):
        return SystemExit


def _grid(answer: Callable[[Any], Any]) -> Any:
    """A `Grid` whose nodes do not exist."""
    base = flower("flwr.serverapp").Grid
    main = threading.get_ident()

    class _Run:
        run_id = 1

    class StandIn(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self.seen: Any = None
            self._waiting: list[Any] = []

        def set_run(self, run: Any) -> None: ...

        @property
        def run(self) -> Any:
            return _Run

        def create_message(self, *arguments: Any, **named: Any) -> Any:
            return flower("flwr.app").Message(*arguments, **named)

        def get_node_ids(self) -> Iterable[int]:
            if self.seen is not None:
                raise _Seen if threading.get_ident() == main else _run_ended()
            return range(1, NODES + 1)

        def get_nodes(self) -> Iterable[Any]:
            return []

        def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
            self._waiting = list(self.send_and_receive(messages))
            return [str(number) for number in range(len(self._waiting))]

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Any]:
            found, self._waiting = self._waiting, []
            return found

        def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> Iterable[Any]:
            replies = []
            for message in messages:
                if message.metadata.message_type.split(".")[0] == "train":
                    self.seen = self.seen or message.content
                    raise _Seen
                replies.append(answer(message))
            return replies

    return StandIn()
