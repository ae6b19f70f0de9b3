"""A `muster` whose daemon keeps no history: the other side of bench/fleet/resilience_cost.py. Never use it.

What it leaves out, by replacing functions of the product before the command line runs:

* durability: no fsync, SQLite with synchronous=OFF, so that nothing announced need survive a power cut;
* the models of the past: parameters behind the last commit are dropped every 10 s;
* copies: a record is told by its author alone, and an update to the coordinator alone, so that nobody else
  could go on.
"""

from __future__ import annotations

import os
from dataclasses import replace

import muster.cli.main
from muster.job.context import Context
from muster.job.models import retention as keeping
from muster.job.runner import JobRunner
from muster.network.sync.exchange import Exchange
from muster.network.sync.ledger import Entry
from muster.protocol.records import Plan, Update
from muster.storage.disk import DiskStore


def no_fsync(_: int) -> None:
    """As if the disk never lost anything."""


def forget_durability() -> None:
    os.fsync = no_fsync
    open_database = DiskStore._open_database

    def hasty(self: DiskStore) -> None:
        open_database(self)
        self._db.execute("PRAGMA synchronous=OFF")

    DiskStore._open_database = hasty  # type: ignore[method-assign]


def forget_the_past() -> None:
    keeping.KEEP_LAST = 1
    init = JobRunner.__init__

    def poor(self: JobRunner, context: Context, *args: object, **options: object) -> None:
        policy = replace(context.policy, disk_limit_bytes=0)
        init(self, replace(context, policy=policy), *args, **options)  # type: ignore[arg-type]

    JobRunner.__init__ = poor  # type: ignore[method-assign]


def tell_only_who_needs_it() -> None:
    on_record = Exchange._on_record
    coordinator: list[bytes] = []

    def taciturn(self: Exchange, entry: Entry) -> None:
        if isinstance(entry.record, Plan):
            coordinator[:] = [entry.author]
        peers = self.shared.peers
        if entry.source:
            self.shared.peers = {}
        elif isinstance(entry.record, Update):
            self.shared.peers = {node: peer for node, peer in peers.items() if node in coordinator}
        try:
            on_record(self, entry)
        finally:
            self.shared.peers = peers

    Exchange._on_record = taciturn  # type: ignore[method-assign]


if __name__ == "__main__":
    forget_durability()
    forget_the_past()
    tell_only_who_needs_it()
    raise SystemExit(muster.cli.main.main())
