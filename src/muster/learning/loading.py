"""Loads what [tasks.NAME] may name: a file, an installed task, or a Flower app."""

from __future__ import annotations

from typing import Any

from muster.learning import task as tasks


def load(reference: str, options: dict[str, Any]) -> tasks.Task:
    """The task, with its options. Imports it, and so torch if it does.

    Raises MusterError, TaskFault; what the task's own code raises passes through.
    """
    if tasks.is_flower(reference, options):
        from muster.learning.flower.task import load_app

        return load_app(reference, options)
    return tasks.load(reference, options)
