"""Puts a node together: the same for a real device, an emulated one and a simulated one.

What differs (engine, disk, identity, trainer, meters) is passed in; nothing here opens a socket or a file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from muster.job.adapting.budget import AskBudget
from muster.job.adapting.table import FieldTable
from muster.job.context import Context, Policy, TrainerLike
from muster.job.forwarding import JobForwarding
from muster.job.models.blob_hints import BlobHints
from muster.job.owner.allowance import Allowance, Clock
from muster.job.registry import JobRegistry
from muster.job.retirement.retired import JobLimits
from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.transfers import Transfers
from muster.network.change_signal import ChangeSignal
from muster.network.supervisor import Pulse, Supervisor
from muster.network.sync import pace
from muster.network.sync.attention import TICK_S
from muster.network.sync.exchange import Exchange
from muster.network.sync.heartbeat import START_MAX
from muster.network.sync.ledger import Ledger
from muster.network.sync.presence import HEARTBEAT_IDLE_S, HEARTBEAT_USUAL_S, Presence
from muster.network.sync.relays import RELAY_BYTES_S, relay_s
from muster.network.sync.spells import load_spells, note_spells
from muster.network.transport.link import Link
from muster.network.transport.link_speed import NARROW_BYTES_S
from muster.network.transport.offences import Offences
from muster.network.trust.signing import Signer, TrustStore
from muster.node.energy.account import EnergyAccount
from muster.node.event_log import EventLog
from muster.node.giving import Giving
from muster.node.revocations import Revocations
from muster.node.twins import Twins
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Member
from muster.storage.offload import Compute, Offload, inline
from muster.storage.store import StorageError, Store

SPELLS_S = 60.0  # how often it is kept how nodes come and go, at most
METER_SAMPLES = 4  # of a bulk transfer, before it is believed that a link is narrow


@dataclass
class NodeStatus:
    """What the node does for its jobs, as its heartbeats say: a state and 0..1 of it."""

    state: str = "idle"
    progress: float = 0.0


class Core:
    """A node's records, transfers and jobs over one link, without the process around it."""

    def __init__(
        self,
        *,
        name: str,
        signer: Signer,
        member: Member,
        trust: TrustStore,
        store: Store,
        link: Link,
        policy: Policy,
        open_trainer: Callable[[str], Awaitable[TrainerLike]],
        installed: Callable[[str], bool],
        battery: Callable[[], float | None],
        energy: EnergyAccount | None = None,
        log: EventLog,
        offload: Offload = inline,
        compute: Compute | None = None,
        status: NodeStatus | None = None,
        narrow: bool | None = None,
        on_job_event: Callable[[str], None] = lambda text: None,
        supervisor: Supervisor | None = None,
        job_limits: JobLimits | None = None,
        measured: Callable[[], float] | None = None,
    ) -> None:
        """`narrow`: whether all links are below 64 kbit/s, or none is; None: as measured, each for itself.
        `on_job_event(text)` is called before an event of a job is logged. `measured()`: seconds since
        the machine's start that nobody sets, time asleep included; None: the loop's."""
        self.name, self.node, self.store, self.link, self.trust = name, signer.node, store, link, trust
        self._member = member
        self.log = log
        self.battery, self.energy = battery, energy or EnergyAccount()
        self.status = status or NodeStatus()
        self.supervisor = supervisor or Supervisor(lambda sentence, job: log.add("error", sentence, job=job))
        self.ledger = Ledger(
            store,
            signer,
            trust,
            on_problem=lambda sentence: self.log.add("error", sentence),
            on_fault=self.supervisor.fault,
        )
        self.presence = Presence(
            signer.node,
            self._next_start(),
            lambda: asyncio.get_running_loop().time(),
            keep_start=self._keep_start,
            usual_s=self._usual_s,
            members=set(),
            kept_spells=load_spells(store),
        )
        self._all_narrow = narrow
        self._on_job_event = on_job_event
        clock = Clock(log.wall_clock, log.local_time, measured or asyncio.get_running_loop().time)
        self.allowance = Allowance(policy.owner, store, clock)
        forwarding = JobForwarding(signer.node)
        self.ask_budget = AskBudget(policy.asks, store, clock)
        giving = Giving(signer.node, store, self.allowance, forwarding, self.ask_budget)
        traffic = giving.traffic
        hints = BlobHints(traffic.assign_blobs)
        self.offences = Offences(self.trust.name, lambda sentence: self.log.add("error", sentence))
        self.transfers = Transfers(
            link,
            store,
            hints=hints.neighbours,
            limits=TransferLimits(
                relay=lambda: self.context.relays(),
                gives=giving.gives,
                disk_limit_bytes=policy.disk_limit_bytes,
            ),
            traffic=traffic,
            supervisor=self.supervisor,
            offences=self.offences,
            offload=offload,
            ours=forwarding.awaits,
        )
        self.exchange = Exchange(
            link,
            store,
            self.ledger,
            self.presence,
            forwarding,
            traffic=traffic,
            heartbeat_period_s=self.heartbeat_period_s,
            relay_bytes_s=self.relay_bytes_s,
            narrow=self._narrow,
            on_problem=lambda sentence: self.log.add("error", sentence),
            supervisor=self.supervisor,
            offences=self.offences,
        )
        changes = ChangeSignal()
        self.field = FieldTable(self.ledger, changes.notify)
        self.context = Context(
            node=signer.node,
            store=store,
            ledger=self.ledger,
            transfers=self.transfers,
            presence=self.presence,
            rate_bytes_s=self.rate_bytes_s,
            policy=policy,
            open_trainer=open_trainer,
            installed=installed,
            name_of=self.trust.name,
            battery=battery,
            energy=self.energy,
            allowance=self.allowance,
            field=self.field,
            event=self._job_event,
            set_status=self._set_status,
            publish_status_now=self.exchange.publish_heartbeat,
            supervisor=self.supervisor,
            offload=offload,
            compute=compute or (lambda size_bytes: offload),
            changes=changes,
            wall_s=log.wall_clock,
            clock_time=self._clock_time,
        )
        self.jobs = JobRegistry(self.context, hints, forwarding, job_limits)

    async def start(self) -> None:
        """Load the stored records, publish this node's membership, and open the link."""
        self.ledger.replay()
        if not self.trust.knows(self.node) or not self._introduced():
            self.ledger.publish(self._member)
        self.presence.set_status("idle", 0.0, self.battery(), b"", 0)
        self.presence.change_listeners.append(self.context.changes.notify)
        twins = Twins(
            self.presence, self.link, self.supervisor, self.log, self.jobs.end_work,
            self.exchange.publish_heartbeat,
        )  # fmt: skip
        self.presence.change_listeners.append(twins.look)
        self.supervisor.keep("telling twins", twins.run)
        self.supervisor.keep("noticing stalls", self._attend)
        self.link.watch(self._on_neighbour)
        Revocations(self.node, self.link, self.ledger, self.presence, self.log).start()
        self.transfers.start()
        await self.exchange.start()
        self.field.start()
        self.jobs.start()
        await self.link.start()

    async def _attend(self, pulse: Pulse) -> None:
        now, kept_s = asyncio.get_running_loop().time, 0.0
        while True:
            self.presence.tick()
            rates = [self.relay_bytes_s(neighbour) for neighbour in self.link.neighbours()]
            self.presence.relay_s = relay_s(self.presence.others(), max(rates, default=RELAY_BYTES_S))
            self.energy.look()
            if now() >= kept_s + SPELLS_S:
                kept_s = now()
                note_spells(self.store, self.presence.known_spells())
            pulse.renew(TICK_S)
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        self.supervisor.ending()
        await self.jobs.close()
        await self.transfers.close()
        await self.exchange.close()
        await self.link.close()
        await self.supervisor.close()
        note_spells(self.store, self.presence.known_spells())
        self.allowance.keep()
        self.ask_budget.keep()
        self.ledger.note_checked()
        self.store.close()

    def heartbeat_period_s(self, neighbour: NodeId) -> float:
        """Seconds between two heartbeats to a neighbour: few while a job runs, as many as the link needs."""
        if not self.busy() and not self._misses_an_end(neighbour):
            return HEARTBEAT_IDLE_S
        return pace.period_s(self._known_rate_bytes_s(neighbour), narrow=self.exchange.narrow(neighbour))

    def relay_bytes_s(self, neighbour: NodeId) -> float:
        """Bytes a second that others' heartbeats may take on a link."""
        own_s, busy = self.heartbeat_period_s(neighbour), self.busy()
        narrow = self.exchange.narrow(neighbour)
        return pace.relay_bytes_s(self._known_rate_bytes_s(neighbour), own_s, narrow=narrow, busy=busy)

    def heard_lately(self, node: NodeId) -> bool:
        """Whether a node was heard as often as heartbeats come here from afar."""
        age_s = self.presence.age_s(node)
        return age_s is not None and age_s < 3 * max(self.heartbeat_period_s(node), self.presence.relay_s)

    def _misses_an_end(self, neighbour: NodeId) -> bool:
        """Whether a neighbour works for a job that is over here: it may have missed the end."""
        heard = self.presence.table.get(neighbour[:8])
        job = heard.heartbeat.job if heard is not None else b""
        return bool(job) and any(known[:4] == job for known in self.jobs.runners)

    def rate_bytes_s(self, neighbour: NodeId) -> float | None:
        """The measured goodput of a link: by bulk transfers, else roughly by small requests."""
        meter = self.transfers.meter(neighbour)
        measured = meter.rate_bytes_s if meter else None
        return measured if measured is not None else self.exchange.rate_bytes_s(neighbour)

    def _known_rate_bytes_s(self, neighbour: NodeId) -> float | None:
        """The same, if it was measured often enough: one transfer that a cut held up says little."""
        meter = self.transfers.meter(neighbour)
        if meter is not None and meter.rate_bytes_s is not None and meter.samples >= METER_SAMPLES:
            return meter.rate_bytes_s
        return self.exchange.rate_bytes_s(neighbour)

    def _narrow(self, neighbour: NodeId) -> bool | None:
        if self._all_narrow is not None:
            return self._all_narrow
        meter = self.transfers.meter(neighbour)
        if meter is not None and meter.rate_bytes_s is not None and meter.samples >= METER_SAMPLES:
            return meter.rate_bytes_s < NARROW_BYTES_S
        return None

    def _usual_s(self) -> float:
        """Seconds between two heartbeats of a node that may be behind a narrow link."""
        narrow = any(self.exchange.narrow(node) for node in self.link.neighbours())
        return pace.NARROW_S if narrow else HEARTBEAT_USUAL_S

    def busy(self) -> bool:
        return any(r.finished() is None for r in self.jobs.runners.values())

    def _introduced(self) -> bool:
        return any(e.author == self.node for e in self.ledger.load(Member.KIND))

    def _next_start(self) -> int:
        kept = self.store.state("starts")
        start = min(START_MAX, (msgspec.msgpack.decode(kept, type=int) if kept else 0) + 1)
        self.store.set_state("starts", msgspec.msgpack.encode(start))
        return start

    def _keep_start(self, start: int) -> None:
        """Keep a start that others have heard of: with one that is not above it, the next process of this
        node would not be heard before it has sent as many heartbeats as this one."""
        with contextlib.suppress(StorageError):  # a full disk: the next start may be heard late
            self.store.set_state("starts", msgspec.msgpack.encode(start))

    def _job_event(self, kind: str, text: str, *, job: bytes = b"", node: str = "") -> None:
        self._on_job_event(text)
        self.log.add(kind, text, job=job, node=node)

    def _clock_time(self, at_s: float) -> str:
        return self.log.clock_time(at_s - asyncio.get_running_loop().time())

    def _set_status(self, state: str, progress: float, job: bytes, round_: int) -> None:
        changed = state != self.status.state
        self.status.state, self.status.progress = state, progress
        self.presence.set_status(state, progress, self.battery(), job, round_)
        if changed and self.busy():
            self.exchange.publish_heartbeat()

    def _on_neighbour(self, node: NodeId, up: bool) -> None:
        name = self.trust.name(node) if self.trust.knows(node) else self._link_name(node)
        self.log.add("link", f"{name} is {'in reach' if up else 'out of reach'}", node=name)
        self.context.changes.notify()

    def _link_name(self, node: NodeId) -> str:
        neighbour = self.link.neighbours().get(node)
        return neighbour.name if neighbour else short(node)
