"""A server's figures as Prometheus reads them. Names end in their base unit."""

from __future__ import annotations

from collections.abc import Iterator

from muster.serving.report import ServerReport


def exposition(report: ServerReport, accept: str) -> tuple[bytes, str]:
    """The text and its media type, in the format that `accept` asks for."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, text, count in (
                ("requests", "Answered with what the model said", report.requests),
                ("failures", "Answered with an error of the server or the model", report.failures),
                ("refused", "Answered with 503: too many at once, or no model in use", report.refused),
                ("rejected", "Answered with 4xx", report.rejected),
                ("swaps", "Of the model in use", report.swaps),
                ("alarms", "That conditions changed", report.alarms),
                ("kept_samples", "Since the start", report.kept),
                ("judged_labels", "Answered by the model in use and the former one", report.judged),
            ):
                counter = CounterMetricFamily(f"muster_serving_{name}", text, labels=("task",))
                counter.add_metric((report.task,), count)
                yield counter
            for name, text, value in (
                ("latency_median_seconds", "Of the last thousand requests", report.p50_ms),
                ("latency_99th_seconds", "Of the last thousand requests", report.p99_ms),
                ("memory_resident_bytes", "Of the server", report.memory_mb * 1e9),
                (
                    "faulty",
                    "1: the model that the pointer names cannot be used",
                    float(bool(report.fault)) * 1e3,
                ),
            ):
                if value is not None:
                    gauge = GaugeMetricFamily(f"muster_serving_{name}", text, labels=("task",))
                    gauge.add_metric((report.task,), value / 1e3)
                    yield gauge
            model = GaugeMetricFamily("muster_serving_model_info", "In use", labels=("task", "version"))
            model.add_metric((report.task, report.version), 1)
            yield model

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    encode, media = choose_encoder(accept)
    return encode(registry), media
