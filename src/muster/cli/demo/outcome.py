"""What a demo brought, and the report that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from muster import __version__
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.report import (
    FORMAT,
    ActReport,
    AdaptReport,
    CourierFigures,
    NodeReport,
    Report,
    SentReport,
    ValuesReport,
)
from muster.node.api.client import Exported, LogView
from muster.node.api.snapshot import JobSnapshot


@dataclass(frozen=True)
class Played:
    """One act: its job as it ended, and its model."""

    title: str
    job: JobSnapshot
    exported: Exported
    wall_s: float
    setup_s: float


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo brought, before the comparison with training alone and together: that of its last act."""

    job: JobSnapshot
    log: LogView
    exported: Exported
    wall_s: float
    setup_s: float
    bytes_by_link: dict[str, int]
    bytes_setup: int
    bytes_sent: SentReport
    emulation: str
    acts: tuple[Played, ...] = ()
    adapt: AdaptReport | None = None  # of the story `adapt`: all else is of the job in it


def report_of(
    request: DemoRequest,
    outcome: DemoOutcome,
    baselines: Mapping[str, Any],
    courier: CourierFigures | None = None,
) -> Report:
    """All figures of a demo; `baselines` may lack some."""
    job = outcome.job
    paths = outcome.exported.paths
    figures = outcome.exported.figures or job.figures
    alone, pooled = baselines.get("best_single", {}), baselines.get("pooled", {})
    return Report(
        format=FORMAT,
        muster=__version__,
        scenario=request.scenario.name,
        task=job.task,
        split=request.split,
        seed=request.seed,
        recipe=job.recipe,
        emulation=outcome.emulation,
        job=job.id,
        state=job.state,
        why=job.why,
        metric=job.headline,
        figures=figures,
        figures_best_single=alone,
        figures_pooled=pooled,
        metric_by_time=_by_time(outcome.log, job.headline),
        accuracy=figures.get("accuracy"),
        accuracy_best_single=alone.get("accuracy"),
        best_single=baselines.get("best_name"),
        accuracy_pooled=pooled.get("accuracy"),
        accuracy_by_time=_by_time(outcome.log, "accuracy"),
        rounds=job.round,
        wall_s=round(outcome.wall_s, 2),
        setup_s=round(outcome.setup_s, 2),
        bytes_by_link=outcome.bytes_by_link,
        bytes_total=sum(outcome.bytes_by_link.values()),
        bytes_setup=outcome.bytes_setup,
        bytes_sent=outcome.bytes_sent,
        model_bytes=job.model_bytes,
        nodes={
            c.node: NodeReport(**{name: getattr(c, name) for name in NodeReport.__struct_fields__})
            for c in job.contributions
        },
        values=msgspec.convert(job.values, ValuesReport | None, from_attributes=True),
        model_path=paths[0] if paths else None,
        model_paths=list(paths),
        warnings=list(outcome.exported.warnings),
        joules=job.joules,
        acts=[
            ActReport(a.title, a.job.id, a.job.round, round(a.wall_s, 2), a.exported.figures.get("accuracy"))
            for a in outcome.acts
            if a.title
        ],
        courier=courier,
        adapt=outcome.adapt,
    )


def _by_time(log: LogView, metric: str) -> list[list[float]]:
    """[[s, value], ...] of the commits that were measured, by the job's age."""
    return [[c.age_s, c.figures[metric]] for c in log.commits if metric in c.figures]
