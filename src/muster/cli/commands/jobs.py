"""Commands about what a running node knows: stop, nodes, jobs, log, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from muster.cli.output import (
    emit,
    energy,
    figure,
    headline,
    json_option,
    node_option,
    percent,
    size,
    span,
    table,
)

if TYPE_CHECKING:
    from muster.node.api.snapshot import (
        JobSnapshot,
        LeftView,
        NeighbourView,
        PeerView,
        SelfView,
        SentView,
        StoredJobView,
    )

NAMES_SHOWN = 4  # of nodes, in a row
STORED_SHOWN = 20  # of the jobs that are not in the node's memory


@click.command()
@click.argument("job")
@click.option("--reason", default="stopped by hand", help="One line, for people.")
@click.option(
    "--as-owner",
    is_flag=True,
    help="Sign with the fleet's key: ends anybody's job; the running node only passes it on.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --as-owner: the fleet's directory.",
)
@node_option
@json_option
def stop(
    job: str, reason: str, as_owner: bool, directory: Path | None, node: str | None, as_json: bool
) -> None:
    """End JOB (the beginning of its id is enough); its model so far can be exported.

    The node that asked for it may, those that it names (`muster train --stopper`), and the fleet's owner.
    """
    from muster.node.api.client import choose

    client = choose(node)
    if as_owner:
        from muster.network.trust.identity import load_fleet
        from muster.node.config import fleet_dir

        owner = load_fleet(directory or fleet_dir())
        whole = bytes.fromhex(client.ask("find", job=job)["job"])
        client.ask("record", wire=owner.stop(whole, reason)[1].hex())
    else:
        client.stop(job, reason)
    if as_json:
        emit({"job": job, "stopped": True})
    else:
        click.echo(f"job {job} is stopped; its model: muster export {job} --to model.safetensors")


@click.command()
@node_option
@json_option
def nodes(node: str | None, as_json: bool) -> None:
    """Show this node and every other that it knows."""
    from muster.node.api.client import choose

    seen = choose(node).snapshot()
    if as_json:
        emit({"node": seen.node, "neighbours": seen.neighbours, "peers": seen.peers})
        return
    direct = {n.id: n for n in seen.neighbours}
    shown: list[SelfView | PeerView] = [seen.node, *seen.peers]
    limited = any(_left(n.left) != "-" for n in shown)
    rows = [[seen.node.name, "this node", seen.node.state, percent(seen.node.battery, 0), "-", "-", "-"]]
    rows[0] += [_left(seen.node.left)] if limited else []
    for peer in seen.peers:
        if peer.id == seen.node.id:
            continue
        near = direct.get(peer.id)
        how = "neighbour" if near else "in reach" if peer.reachable else _away(peer)
        how = how if peer.revoked is None else "revoked"
        rtt = f"{near.rtt_s * 1000:.0f} ms" if near and near.rtt_s is not None else "-"
        speed = size(near.goodput_bytes_s) + "/s" if near and near.goodput_bytes_s is not None else "-"
        row = [peer.name, how, peer.state, percent(peer.battery, 0), span(peer.heard_s), rtt, speed]
        rows.append([*row, _left(peer.left)] if limited else row)
    head = ("NODE", "REACH", "STATE", "BATTERY", "HEARTBEAT", "RTT", "LINK")
    table((*head, "LEFT TODAY") if limited else head, rows)
    for warning in seen.node.warnings:
        click.echo(warning)
    for peer in seen.peers:
        if peer.revoked is not None:
            click.echo(f"{peer.name} was revoked by the fleet's owner: {peer.revoked}")
    if seen.node.energy is not None:
        click.echo(f"{seen.node.name}: {seen.node.energy.said}")
    for some in shown:
        if some.left is not None and some.left.why:
            click.echo(f"{some.name} takes no part now: {some.left.why}")
    for peer in seen.peers:
        if peer.refused or peer.cut_off:
            cut = ", which is not heard for some minutes: it goes on" if peer.cut_off else ""
            click.echo(f"refused on {seen.node.name}: {peer.refused} records by {peer.name}{cut}")
        if peer.later:
            click.echo(f"not understood on {seen.node.name}: {peer.later}")
    for unlinked in seen.node.unlinked:
        click.echo(f"no link to {unlinked.endpoint}: {unlinked.sentence}")
    if wrong := [loop.sentence for loop in seen.node.loops if loop.sentence]:
        click.echo(f"not well on {seen.node.name}: {'; '.join(wrong)}")


def _away(peer: PeerView) -> str:
    """For how long still, if it comes and goes."""
    return "away" if peer.back_s is None else f"away, back in about {span(peer.back_s)}"


def _left(left: LeftView | None) -> str:
    """What a node's owner lets others use yet: 12.3 MB, 400 J, 5:10:00."""
    if left is None:
        return "-"
    parts = [size(left.bytes)] if left.bytes is not None else []
    parts += [f"{left.joules:.3g} J"] if left.joules is not None else []
    parts += [span(left.available_s)] if left.available_s is not None else []
    return ", ".join(parts) or "-"


@click.command()
@click.option("--all", "all_", is_flag=True, help=f"Also the jobs that ended before the last {STORED_SHOWN}.")
@node_option
@json_option
def jobs(all_: bool, node: str | None, as_json: bool) -> None:
    """Show the jobs that a node knows."""
    from muster.node.api.client import choose

    client = choose(node)
    seen = client.snapshot()
    found, shown = seen.jobs, seen.stored_jobs if all_ else min(STORED_SHOWN, seen.stored_jobs)
    stored = client.stored_jobs(shown) if shown else []
    if as_json:
        emit([*stored, *found])
    elif not found and not stored:
        click.echo("no jobs yet; start one with: muster train TASK")
    else:
        table(
            ("JOB", "TASK", "STATE", "ROUND", "MEASURED", "AGE", "BYTES", "ENERGY", "WHY"),
            [_job_row(j, j.rounds) for j in stored] + [_job_row(j, j.stop.get("rounds")) for j in found],
        )
        if shown < seen.stored_jobs:
            click.echo(f"{seen.stored_jobs - shown} older ones: muster jobs --all")


def _job_row(job: JobSnapshot | StoredJobView, rounds: float | None) -> list[str]:
    from muster.cli.spending import cell
    from muster.node.api.snapshot import StoredJobView

    done = f"{job.round}/{rounds:.0f}" if rounds else str(job.round)
    if isinstance(job, StoredJobView):
        measured = f"{job.metric} {figure(job.metric, job.figure)}"
        spent = [span(job.age_s), size(job.spent_bytes), "-"]
    else:
        measured = headline(job)
        used = (("seconds", job.age_s), ("bytes", job.spent_bytes), ("joules", job.joules))
        spent = [cell(job, resource, amount) for resource, amount in used]
    return [job.id[:8], _purpose(job), job.state, done, measured, *spent, job.why]


def _purpose(job: JobSnapshot | StoredJobView) -> str:
    """A job's task, and of one that adapts a model in use for which nodes."""
    from muster.node.api.snapshot import StoredJobView

    if isinstance(job, StoredJobView):
        return f"{job.task}, adapt" if job.adapts else job.task
    if job.adapts_for is None:
        return job.task
    more = f" and {len(job.adapts_for) - NAMES_SHOWN} more" if len(job.adapts_for) > NAMES_SHOWN else ""
    names = ", ".join(job.adapts_for[:NAMES_SHOWN]) + more
    return f"{job.task}, adapt for {names}" if names else f"{job.task}, adapt"


def _show_bytes(job: SentView, links: list[NeighbourView]) -> None:
    """What this node sent, in the job and on each link (all jobs), before the engine's own framing."""
    rows = [("this job", job), *((f"to {n.name}", n.sent) for n in links)]
    table(
        ("", "PAYLOAD", "RECORDS", "EXCHANGE", "HEARTBEATS", "FROZEN", "ALL", "SENT AGAIN"),
        [
            [
                what,
                size(s.payload),
                size(s.records),
                size(s.exchange),
                size(s.presence),
                size(s.frozen),
                size(s.payload + s.records + s.exchange + s.presence + s.frozen),
                size(s.again),
            ]
            for what, s in rows
        ],
    )


@click.command()
@click.argument("job")
@click.option("--graph", is_flag=True, help="Draw branches and merges.")
@click.option("--bytes", "bytes_", is_flag=True, help="What this node sent: payload, overhead, sent again.")
@click.option(
    "--why",
    is_flag=True,
    help="How each round was planned and why: steps, codecs, forecasts beside what happened.",
)
@click.option("--contributions", is_flag=True, help="What each node gave, and what it was worth.")
@node_option
@json_option
def log(
    job: str,
    graph: bool,
    bytes_: bool,
    why: bool,
    contributions: bool,
    node: str | None,
    as_json: bool,
) -> None:
    """Show JOB's history, newest commit first, and what each node gave."""
    from muster.cli.spending import by_node, cell, so_far
    from muster.node.api.client import choose

    found = choose(node).log(job, why=why, links=bytes_)
    if as_json:
        emit(found)
        return
    view = found.job
    click.echo(f"job {view.id[:8]}: {_purpose(view)}, {view.state}: {view.why}")
    for fact in view.waits:
        click.echo(f"  {fact}")
    if view.width != 1.0:
        click.echo(f"  a model of width {view.width:g}, {size(view.model_bytes)}")
    if graph:
        from muster.cli.commit_graph import draw

        click.echo("\n".join(draw(found.commits, view.headline, view.head)))
        return
    if bytes_:
        _show_bytes(view.sent, found.links)
        return
    if why:
        from muster.cli.forecasts import show

        show(found)
        return
    if contributions:
        from muster.cli import contributions as giving

        giving.show(view)
        return
    if view.budgets:
        click.echo(f"  spent: {cell(view, 'seconds', view.age_s)}, {so_far(view)}")
        for line in by_node(view):
            click.echo(f"  {line}")
    table(
        ("COMMIT", "ROUND", "AT", "SENT", "ENERGY", view.headline.upper(), "UPDATES", "BY", "FROM"),
        [
            [
                c.id[:8],
                str(c.round),
                span(c.age_s),
                size(c.bytes_total),
                energy(c.joules_total),
                figure(view.headline, c.figures.get(view.headline)),
                str(c.counted),
                c.coordinator or "merge of " + " ".join(p[:8] for p in c.parents),
                " ".join(c.nodes) + (f" (stand-ins: {' '.join(c.stand_ins)})" if c.stand_ins else ""),
            ]
            for c in reversed(found.commits)
        ],
    )
    click.echo("")
    table(
        ("NODE", "SAMPLES", "STEPS", "COUNTED", "LATE", "SHARE", "SENT", "ENERGY"),
        [
            [
                c.node,
                str(c.samples),
                str(c.steps),
                str(c.updates_counted),
                str(c.updates_late),
                percent(c.share, 0),
                size(c.sent_bytes),
                energy(c.joules),
            ]
            for c in view.contributions
        ],
    )


@click.command()
@click.argument("job")
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path),
    help="FILE.safetensors, FILE.onnx, or FILE for both.",
)
@click.option("--best", is_flag=True, help="The best commit that was measured, not the last one.")
@node_option
@json_option
def export(job: str, to: Path, best: bool, node: str | None, as_json: bool) -> None:
    """Write JOB's model, as it is now, to files."""
    from muster.errors import MusterError
    from muster.node.api.client import choose

    target = to.expanduser().absolute()
    if not target.parent.is_dir():
        raise MusterError("usage", f"there is no directory {target.parent}: make it first")
    done = choose(node).export(job, target, best=best)
    if as_json:
        emit(done)
    else:
        for path in done.paths:
            click.echo(path)
        for warning in done.warnings:
            click.echo(f"warning: {warning}", err=True)
        value = figure(done.metric, done.figures.get(done.metric))
        which = f"the best commit of those measured, of round {done.round}: " if best else ""
        click.echo(f"{which}{done.metric} {value}, commit {done.commit[:8]}")
