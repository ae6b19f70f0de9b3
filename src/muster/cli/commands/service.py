"""`muster service`: a node as a service of systemd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from muster.cli.output import emit, json_option, size, table

FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.group()
def service() -> None:
    """Let systemd run a node: from the start of the machine, again when it fails, with few rights.

    The unit is muster@NAME.service; `journalctl -u muster@NAME` shows its log.
    """


@service.command()
@click.option("--name", help="Default: the bundle's, else the host's name.")
@click.option("--bundle", type=FILE, help="Its place in a fleet; copied to /etc/muster/NAME.pem.")
@click.option(
    "--config", "-c", type=FILE, help="Its node.toml. Default: /etc/muster/NAME.toml, made if needed."
)
@click.option("--user", default="muster", show_default=True, help="Who runs it; made if there is none.")
@click.option("--home", metavar="DIR", help="Default: /var/lib/muster/NAME.")
@click.option(
    "--connect", multiple=True, metavar="HOST:PORT", help="A neighbour; may be given several times."
)
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Default: 7447 or any free port.")
@click.option(
    "--memory",
    default="80%",
    show_default=True,
    help="Limit for all its processes: a size, or a part of all.",
)
@click.option("--print", "only_print", is_flag=True, help="Only show the unit; change nothing.")
def install(
    name: str | None,
    bundle: Path | None,
    config: Path | None,
    user: str,
    home: str | None,
    connect: tuple[str, ...],
    listen: tuple[str, ...],
    memory: str,
    only_print: bool,
) -> None:
    """Write the unit of a node and start it. The same command again changes and restarts it."""
    from muster.errors import MusterError
    from muster.network.transport.endpoints import endpoint_fault
    from muster.network.trust.certificates import check_name
    from muster.network.trust.identity import load_bundle
    from muster.node.config import data_root, host_name, load_config
    from muster.node.service.install import Machine, program, put
    from muster.node.service.unit import Service, is_memory, unit

    if not is_memory(memory):
        raise MusterError("usage", f"{memory!r} is no limit of memory: write 80%, 500MB or 2GB")
    for endpoint in (*connect, *listen):
        if (fault := endpoint_fault(endpoint, dialled=endpoint in connect)) is not None:
            raise MusterError("usage", fault)
    given = load_config(config) if config else None
    called = load_bundle(bundle).name if bundle else None
    name = check_name(name or called or (given.name if given else host_name()))
    if called not in (None, name):
        raise MusterError("usage", f"{bundle} is the bundle of {called!r}, not of {name!r}")
    machine = Machine()
    usual = machine.state / name
    if given is not None and given.home != data_root() / given.name:
        usual = given.home  # that file says where
    place = Path(home).absolute() if home else usual
    settings: dict[str, Any] = {"name": name, "home": str(place)}
    if bundle is not None:
        settings["bundle"] = str(machine.settings / f"{name}.pem")
    settings |= {key: list(found) for key, found in (("listen", listen), ("connect", connect)) if found}
    own = machine.settings / f"{name}.toml"
    more = [] if config is None and not own.exists() else _as_options(settings | {"home": []})
    where = config.absolute() if config else own
    made = Service(name, user, program(), where, place, tuple(more), memory)
    if only_print:
        click.echo(unit(made, machine.version()), nl=False)
        return
    for line in put(machine, made, bundle, settings):
        click.echo(line)
    click.echo(f"look: muster service status; journalctl -fu muster@{name}; muster doctor --config {where}")


def _as_options(settings: dict[str, Any]) -> list[str]:
    """What the settings' file does not say, for the command line."""
    options: list[str] = []
    for key, value in settings.items():
        for text in value if isinstance(value, list) else [value]:
            options += [f"--{key}", text]
    return options


@service.command()
@click.option("--name", help="Of the node. Default: all services of Muster on this machine.")
@json_option
def status(name: str | None, as_json: bool) -> None:
    """Show what systemd says of the nodes that are services here."""
    from muster.errors import MusterError
    from muster.node.service.install import Machine, state

    machine = Machine()
    if not machine.running.is_dir():
        raise MusterError("service", "systemd does not run this machine, so no node is a service here")
    found = [state(machine, one) for one in ([name] if name else machine.installed())]
    if as_json:
        emit(found)
    elif not found:
        click.echo("no node is a service here; make one with 'muster service install'")
    else:
        head = ("node", "state", "does", "pid", "restarts", "memory", "user", "ended last")
        rows = [
            (s.name, s.state, s.status, str(s.pid), str(s.restarts), size(s.memory_bytes), s.user, s.result)
            for s in found
        ]
        table(head, rows)


@service.command()
@click.option("--name", required=True, help="Of the node.")
def uninstall(name: str) -> None:
    """End a node's service and remove its unit; home, settings and bundle stay."""
    from muster.node.service.install import Machine, take_away

    click.echo(take_away(Machine(), name))
