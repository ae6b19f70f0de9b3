"""What each node needs and uses: the newest `Need` and `Use` of each node with each task, by what is here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from msgspec.structs import replace

from muster.network.sync.ledger import Entry, Ledger
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Need, Use
from muster.protocol.validation.limits import SEQUENCE_MAX
from muster.storage.store import StorageError


class FieldTable:
    """Listens to the ledger; makes this node's own records."""

    def __init__(self, ledger: Ledger, changed: Callable[[], None]) -> None:
        """`changed()` is called after each change; it may come from any node."""
        self._ledger, self._changed = ledger, changed
        self._node = ledger.signer.node
        self._known: dict[tuple[str, NodeId, str], tuple[RecordId, Need | Use]] = {}  # by kind, node, task
        self._said: dict[tuple[str, str], Need | Use] = {}  # by this node since it has this disk

    def start(self) -> None:
        """Load what is kept, then listen."""
        for entry in (*self._ledger.load(Need.KIND), *self._ledger.load(Use.KIND)):
            self._take_in(entry)
        for (kind, node, task), (_, record) in self._known.items():
            if node == self._node and record.incarnation == self._ledger.store.incarnation:
                self._said[kind, task] = record
        self._ledger.listeners.append(self._on_record)
        self._ledger.removal_listeners.append(self._on_removed)

    def need(self, node: NodeId, task: str) -> Need | None:
        """What a node says last of its need; also one that is over."""
        record = self._known.get((Need.KIND, node, task), (b"", None))[1]
        return record if isinstance(record, Need) else None

    def use(self, node: NodeId, task: str) -> Use | None:
        """What a node says last of the model that it uses."""
        record = self._known.get((Use.KIND, node, task), (b"", None))[1]
        return record if isinstance(record, Use) else None

    def needs(self, task: str) -> dict[NodeId, Need]:
        """Of all nodes that ever had one."""
        found = ((n, r) for (_, n, t), (_, r) in self._known.items() if t == task)
        return {node: record for node, record in found if isinstance(record, Need)}

    def uses(self, task: str) -> dict[NodeId, Use]:
        """Of all nodes that use a model for the task."""
        found = ((n, r) for (_, n, t), (_, r) in self._known.items() if t == task)
        return {node: record for node, record in found if isinstance(record, Use)}

    def tasks(self) -> set[str]:
        """Those that some node uses a model for."""
        return {task for kind, _, task in self._known if kind == Use.KIND}

    def publish(self, record: Need | Use) -> None:
        """Say it, unless that is what was said last; incarnation and number are filled in here.

        Raises StorageError; InvalidRecord for what nobody would take.
        """
        record = replace(record, incarnation=self._ledger.store.incarnation)
        last = self._known.get((record.KIND, self._node, record.task), (b"", None))[1]
        if last is not None and replace(record, number=last.number) == last:
            return
        record = replace(record, number=self._next_number(record.KIND))
        self._ledger.publish(record)
        self._said[record.KIND, record.task] = record

    def _next_number(self, kind: str) -> int:
        """One count over all tasks: where there is no room for all, those that were spoken of last stay."""
        own = (r.number for (k, node, _), (_, r) in self._known.items() if (k, node) == (kind, self._node))
        return min(SEQUENCE_MAX, 1 + max(own, default=0))

    def _take_in(self, entry: Entry) -> bool:
        record = entry.record
        if not isinstance(record, Need | Use):
            return False
        self._known[record.KIND, entry.author, record.task] = entry.id, record
        return True

    def _on_record(self, entry: Entry) -> None:
        if not self._take_in(entry):
            return
        record = entry.record
        assert isinstance(record, Need | Use)
        if entry.author == self._node and record.incarnation != self._ledger.store.incarnation:
            said = self._said.get((record.KIND, record.task))
            if said is not None:  # what this node said before it lost its disk came back, and looks newer
                with contextlib.suppress(StorageError):
                    self.publish(said)
        self._changed()

    def _on_removed(self, record_id: RecordId) -> None:
        """A newer one came, which is here already; or its node is revoked."""
        gone = [key for key, (known, _) in self._known.items() if known == record_id]
        for key in gone:
            del self._known[key]
        if gone:
            self._changed()
