"""The fault that a task's own code is blamed for. It stands alone: a task may do without torch."""

from __future__ import annotations


class TaskFault(Exception):
    """A task's own code is at fault; the message is one sentence for people."""
