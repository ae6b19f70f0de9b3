"""What makes models that can be served, and compares them: `Workshop` is the interface that the loops use.

`children.py` implements it with child processes.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from muster.node.field.gates import Compared
from muster.node.field.memory import Made
from muster.protocol.ids import CommitId
from muster.serving.pointer import Served


@dataclass(frozen=True)
class Candidate:
    """A model as files that can be put into use; they are gone after the block that made them."""

    version: str
    made: Made
    file: Path  # ONNX: answer, confidence, entropy
    sketch: Path | None  # ONNX: what nodes are compared by
    parameters: Path  # safetensors: what a job begins with
    sha256: str  # of `file`


@dataclass(frozen=True)
class Sketch:
    """A sketch of this node's newest samples, and of how many; b"": none can be made."""

    sketch: bytes
    samples: int


class Workshop(Protocol):
    """All methods raise MusterError, or ChildProcessError when a child died."""

    def of_commit(self, task: str, commit: CommitId) -> AbstractAsyncContextManager[Candidate]:
        """A commit's model, fetched if it is not held here."""

    def of_file(self, task: str, path: Path) -> AbstractAsyncContextManager[Candidate]:
        """A .safetensors file's model."""

    def fine_tuned(self, task: str, commit: CommitId) -> AbstractAsyncContextManager[Candidate]:
        """A commit's model after training on this node's own samples."""

    async def compare(self, task: str, candidate: Candidate, used: Served) -> Compared:
        """With the model in use, on this node's held-out labels of conditions as they are now."""

    async def sketch(self, task: str, used: Served) -> Sketch:
        """Of conditions as they are now, by the model in use."""
