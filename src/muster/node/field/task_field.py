"""One served task on this node: what the steps of its loop and the requests of people have in common.

Both may move models.  What takes long holds no lock: whoever compared a candidate says with which model in
use, and it goes into use only if that one still is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from muster.errors import MusterError
from muster.node.core import Core
from muster.node.field import looking, memory, moving
from muster.node.field.gates import Compared
from muster.node.field.looking import Found
from muster.node.field.memory import Memory
from muster.node.field.situation import Settings
from muster.node.field.workshop import Candidate, Workshop
from muster.protocol.ids import JobId
from muster.serving.paths import folder_of
from muster.serving.pointer import Served


@dataclass(eq=False)
class TaskField:
    """The parts that work on a task. `lock` is held while the pointer moves."""

    task: str
    home: Path
    core: Core
    workshop: Workshop
    settings: Settings
    clock: Callable[[], float]  # unix seconds, as the pointer has them
    memory: Memory
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def say(self, text: str, *, job: JobId = b"") -> None:
        """One line of the node's history."""
        self.core.log.add("model", f"{self.task}: {text}", job=job)

    async def look(self) -> Found:
        """What the files say now. Raises MusterError."""
        return await self.core.context.offload(looking.look, self.home, self.task, dict(self.memory.made))

    def remember(self) -> None:
        """Keep the memory. Raises StorageError."""
        memory.keep(self.core.store, self.task, self.memory)

    async def put(
        self, candidate: Candidate, kind: str, said: str, found: Compared | None, against: Served | None
    ) -> Served:
        """Put a candidate into use in the place of `against`. Raises MusterError, StorageError."""
        made = candidate.made
        if found is not None:
            made = msgspec.structs.replace(
                made, held=found.labels, right=found.right, wins=found.wins, losses=found.losses
            )
        offload = self.core.context.offload
        async with self.lock:
            if await offload(looking.pointed, folder_of(self.home, self.task)) != against:
                raise MusterError("refused", "another model went into use meanwhile: try again")
            self.memory.note_made(candidate.sha256, made)
            self.remember()
            served = await offload(moving.put, self.home, self.task, candidate, kind, said)
        self.say(f"{served.version} is in use: {said}", job=made.job)
        self.core.context.changes.notify()
        return served

    async def go_back(self, kind: str, said: str) -> Served:
        """Have the former model in use again. Raises MusterError."""
        async with self.lock:
            served = await self.core.context.offload(moving.go_back, self.home, self.task, kind, said)
        self.say(f"{served.version} is in use again: {said}")
        self.core.context.changes.notify()
        return served
