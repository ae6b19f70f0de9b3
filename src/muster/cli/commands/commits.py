"""Commands about single commits: show, diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muster.cli.contributions import worth
from muster.cli.output import emit, figure, json_option, node_option, percent, size, span, table

if TYPE_CHECKING:
    from muster.node.api.commit_detail import CommitDetail, CountedView, DiffView
    from muster.node.api.snapshot import CommitView


@click.command()
@click.argument("commit")
@node_option
@json_option
def show(commit: str, node: str | None, as_json: bool) -> None:
    """Show COMMIT (the beginning of its id is enough): what it counted, what it discarded, its figures."""
    from muster.node.api.client import choose

    found = choose(node).show(commit)
    if as_json:
        emit(found)
    else:
        _print_commit(found)


@click.command()
@click.argument("a")
@click.argument("b")
@node_option
@json_option
def diff(a: str, b: str, node: str | None, as_json: bool) -> None:
    """Compare the commits A and B: figures, updates counted by one only, parameters moved by layer."""
    from muster.node.api.client import choose

    found = choose(node).diff(a, b)
    if as_json:
        emit(found)
    else:
        _print_diff(found)


def _print_commit(found: CommitDetail) -> None:
    commit = found.commit
    figures = ", ".join(f"{name} {figure(name, value)}" for name, value in commit.figures.items())
    measured = f"{figures} on {found.examples} samples" if figures else "-"
    delta = f", as a difference {size(found.delta_bytes)} ({found.delta_codec})" if found.delta_bytes else ""
    residual = f", residual {found.residual_norm:.3g}" if found.residual_norm else ""
    lines = [
        ("commit", commit.id + (" (head)" if found.head else "")),
        ("job", f"{found.job[:8]}, {found.task}"),
        ("parents", " ".join(p[:8] for p in commit.parents) or "none: a job begins here"),
        ("children", " ".join(c[:8] for c in found.children) or "none yet"),
        ("round", f"{commit.round}, {span(commit.age_s)} after the job began"),
        ("by", commit.coordinator or "nobody: a merge is computed by every node for itself"),
        ("figures", measured),
        ("parameters", f"{size(found.params_bytes)}{delta}{residual}"),
        ("held here", "yes" if commit.held else "no"),
        ("roster", " ".join(found.roster)),
        ("counted", f"{len(found.counted)} updates, {found.counted_in_all} with all before"),
    ]
    table(None, lines)
    if found.counted:
        click.echo("")
        _print_updates(found.counted)
    if found.discarded:
        click.echo("")
        table(
            ("DISCARDED", "UPDATE", "WHY"),
            [[d.node, _key(d.incarnation, d.sequence), d.reason] for d in found.discarded],
        )


def _print_updates(updates: list[CountedView]) -> None:
    valued = any(u.value is not None for u in updates)
    table(
        ("NODE", "UPDATE", "STEPS", "EXAMPLES", "STALENESS", "WEIGHT", *(["VALUE"] if valued else [])),
        [
            [
                u.node + (f" for {' '.join(u.stands_for)}" if u.stands_for else ""),
                _key(u.incarnation, u.sequence),
                str(u.steps),
                str(u.examples),
                str(u.staleness),
                f"{u.weight:.4f}",
                *([worth(u.value)] if valued else []),
            ]
            for u in updates
        ],
    )


def _key(incarnation: int, sequence: int) -> str:
    return f"{incarnation}.{sequence}"


def _print_diff(found: DiffView) -> None:
    names = list({**found.a.figures, **found.b.figures})
    table(
        ("", "COMMIT", "ROUND", "BY", *(name.upper() for name in names), "AT"),
        [_figures("a", found.a, names), _figures("b", found.b, names)],
    )
    for side, other, updates in (("a", "b", found.only_a), ("b", "a", found.only_b)):
        click.echo("")
        if not updates:
            click.echo(f"all that {side} counts, {other} counts too")
            continue
        click.echo(f"counted by {side} only: {len(updates)} updates")
        _print_updates(updates)
    click.echo("")
    if found.pruned:
        click.echo("a pruning lies between them: layers are compared on the channels that both have")
    table(
        ("LAYER", "SHAPE", "NORM", "MOVED", "MOVED %", "AT MOST"),
        [
            [
                m.name,
                "x".join(map(str, m.shape)) or "-",
                f"{m.norm_a:.4g}",
                f"{m.moved:.4g}",
                percent(m.moved / m.norm_a) if m.norm_a else "-",
                f"{m.moved_max:.4g}",
            ]
            for m in found.layers
        ],
    )


def _figures(name: str, commit: CommitView, metrics: list[str]) -> list[str]:
    return [
        name,
        commit.id[:8],
        str(commit.round),
        commit.coordinator or "merge",
        *(figure(metric, commit.figures.get(metric)) for metric in metrics),
        span(commit.age_s),
    ]
