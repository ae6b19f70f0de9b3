"""`muster doctor`: what keeps a node from its work, a line each."""

from __future__ import annotations

from pathlib import Path

import click

from muster.cli.output import emit, json_option

CONFIG = click.Path(dir_okay=False, path_type=Path)
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--config", "-c", "path", type=CONFIG, help="Its node.toml. Default: that of the service here.")
@click.option("--home", metavar="DIR", help="The node's home. Default: that of the only node here.")
@click.option("--no-tasks", is_flag=True, help="Do not open the tasks, which takes seconds each.")
@json_option
def doctor(path: Path | None, home: str | None, no_tasks: bool, as_json: bool) -> int:
    """Look at what a node needs, with the daemon up or down, and say what to do.

    Daemon, clock, network, ports, neighbours, disk, memory, bundle, packages, tasks. It ends with the code of
    the first failure.
    """
    from muster.cli.home import home_and_config
    from muster.node.doctor.findings import exit_code, findings
    from muster.node.doctor.gather import gather

    _, config = home_and_config(path, home)
    found = findings(gather(config, opens=not no_tasks))
    if as_json:
        emit({"findings": found})
        return exit_code(found)
    for one in found:
        does = f": {one.do}" if one.do else ""
        click.echo(f"{click.style(f'{one.level:4}', fg=_COLOURS[one.level])}  {one.topic:12}{one.text}{does}")
    return exit_code(found)
