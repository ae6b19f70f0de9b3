"""A node's figures as Prometheus reads them. Names end in their base unit; labels are bounded by `Gauges`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from muster.network.sync.heartbeat import STATES
from muster.node.api.gauges import Gauges, JobGauges, LinkGauges

JOB_STATES = ("waiting", "running", "finished", "stopped", "failed")
JOB_DIGITS = 8  # of its id
Sample = tuple[tuple[str, ...], float | None]  # label values, value; None: not known, left out


def exposition(found: Gauges | None, accept: str) -> tuple[bytes, str]:
    """The text and its media type, in the format that `accept` asks for. None: the node does not answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(found))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _Once(Collector):
    def __init__(self, found: Gauges | None) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        found = self._found
        yield _gauge("up", "1: the node answers", [((), float(found is not None))])
        if found is not None:
            yield from _node(found)
            yield from _links(found.links)
            yield from _jobs(found)


def _node(n: Gauges) -> Iterator[Metric]:
    labels = ("node", "version", "id")
    yield _gauge("node_info", "The node", [((n.name, n.version, n.id[:JOB_DIGITS]), 1)], labels)
    states = [((state,), float(state == n.state)) for state in STATES]
    yield _gauge("node_state", "What the node does: 1 for one of the states", states, ("state",))
    for name, text, value in (
        ("uptime_seconds", "Since the process started", n.uptime_s),
        ("battery_ratio", "0 to 1", n.battery),
        ("power_watts", "That the machine draws as it is now, idle or training", n.now_w),
        ("memory_resident_bytes", "Of the daemon, without its trainer", n.memory_bytes),
        ("disk_used_bytes", "Of the node's store", n.disk_bytes),
        ("disk_limit_bytes", "policy.disk_limit_mb", n.disk_limit_bytes),
        ("disk_free_bytes", "Of the file system that the home is on", n.disk_free_bytes),
        ("members", "Of the fleet, this node included", n.members),
        ("members_reachable", "Others in contact, perhaps over others", n.reachable),
        ("neighbours", "Nodes with a link to this one", n.neighbours),
        ("blobs_fetching", "Models and updates that are being fetched", n.fetching),
        ("loop_faults", "Of the node's loops, in the last ten minutes", n.loop_faults),
        ("jobs_left_out", "In memory, beyond the limit of those that are listed", n.jobs_left_out),
        ("jobs_stored", "In the store only", n.jobs_stored),
    ):
        yield _gauge(name, text, [((), value)])
    yield _counter("energy_joules", "Used since the process started", [((), n.used_j)])
    sent = n.sent
    kinds = {"payload": sent.payload, "records": sent.records, "exchange": sent.exchange}
    kinds |= {"presence": sent.presence, "frozen": sent.frozen}
    by_kind: list[Sample] = [((k,), v) for k, v in kinds.items()]
    yield _counter("sent_bytes", "To all neighbours, before the engine's framing", by_kind, ("kind",))
    yield _counter("sent_again_bytes", "Sent to the same neighbour before", [((), sent.again)])
    loops: list[Sample] = [((state,), count) for state, count in n.loops.items()]
    yield _gauge("loops", "Of the node, by how they are", loops, ("state",))
    refused: list[Sample] = [((reason,), count) for reason, count in n.refused.items()]
    yield _counter("records_refused", "Since the start", refused, ("reason",))
    yield _counter("blobs_refused", "Whole, and with the wrong hash", [((), n.wrong_blobs)])


def _links(links: list[LinkGauges]) -> Iterator[Metric]:
    one = ("neighbour",)
    yield _counter("link_sent_bytes", "To a neighbour", [((i.node,), i.sent_bytes) for i in links], one)
    yield _counter(
        "link_received_bytes", "From a neighbour", [((i.node,), i.received_bytes) for i in links], one
    )
    yield _gauge("link_rtt_seconds", "As measured", [((i.node,), i.rtt_s) for i in links], one)
    yield _gauge(
        "link_goodput_bytes_per_second", "As measured", [((i.node,), i.goodput_bytes_s) for i in links], one
    )


def _jobs(n: Gauges) -> Iterator[Metric]:
    states = Counter(job.state for job in n.jobs)
    by_state: list[Sample] = [((state,), states[state]) for state in JOB_STATES]
    yield _gauge("jobs", "That are listed, by state", by_state, ("state",))
    for name, text, field in (
        ("job_round", "Of the head", "round"),
        ("job_heads", "Histories that are not merged", "heads"),
        ("job_age_seconds", "Since the job began", "age_s"),
        ("job_model_bytes", "Of the whole model", "model_bytes"),
        ("job_participants", "Nodes that offered to help", "participants"),
        ("job_refusing", "Nodes that take no part", "refusing"),
        ("job_coordinating", "1: this node is the coordinator", "coordinating"),
        ("job_measured_examples", "Held-out samples of its metrics", "measured"),
    ):
        yield _gauge(name, text, _of_jobs(n.jobs, field), ("job", "task"))
    # A merge may take either back, but for a moment: to Prometheus that is a counter that starts again.
    yield _counter("job_bytes", "Sent by all nodes for it", _of_jobs(n.jobs, "spent_bytes"), ("job", "task"))
    joules = [(_labels(job), job.joules) for job in n.jobs]
    yield _counter("job_energy_joules", "Used by all nodes for it", joules, ("job", "task"))
    yield _counter("job_updates", "Counted by its head", _of_jobs(n.jobs, "updates"), ("job", "task"))
    metrics: list[Sample] = [
        ((*_labels(job), name), value) for job in n.jobs for name, value in job.metrics.items()
    ]
    yield _gauge("job_metric", "A metric of its head, by name", metrics, ("job", "task", "metric"))


def _of_jobs(jobs: list[JobGauges], field: str) -> list[Sample]:
    return [(_labels(job), float(getattr(job, field))) for job in jobs]


def _labels(job: JobGauges) -> tuple[str, str]:
    return job.id[:JOB_DIGITS], job.task


def _gauge(name: str, text: str, samples: Iterable[Sample], labels: tuple[str, ...] = ()) -> Metric:
    return _filled(GaugeMetricFamily(f"muster_{name}", text, labels=labels), samples)


def _counter(name: str, text: str, samples: Iterable[Sample], labels: tuple[str, ...] = ()) -> Metric:
    return _filled(CounterMetricFamily(f"muster_{name}", text, labels=labels), samples)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[Sample]
) -> GaugeMetricFamily | CounterMetricFamily:
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family
