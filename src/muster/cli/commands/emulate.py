"""`muster emulate`: bring an emulated network up and run a command on its nodes."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from muster.emulation.emulator import Emulation

PORT = 7447


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("scenario")
@click.option(
    "--on", "on", multiple=True, metavar="NODE", help="Only on this node; may be given several times."
)
@click.option(
    "--dir", "rundir", type=click.Path(file_okay=False, path_type=Path), help="For homes and sockets; kept."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def emulate(scenario: str, on: tuple[str, ...], rundir: Path | None, command: tuple[str, ...]) -> int:
    """Bring up the network of SCENARIO (a TOML file or a name such as field-8); run COMMAND on its nodes.

    In COMMAND, {name}, {address} and {connect} (the neighbours' HOST:PORT, with commas) are filled in; the
    environment has MUSTER_NAME, MUSTER_ADDRESS and MUSTER_CONNECT. Without a COMMAND each node runs 'muster
    node' with static endpoints. Ends when the commands have ended, or with Ctrl-C; leaves nothing behind.

    Example: muster emulate field-8 --on alpha -- ping -c 3 10.77.0.4
    """
    from muster.cli.interrupt import run_until_interrupted
    from muster.emulation.scenario_file import load

    loaded = load(scenario)
    with tempfile.TemporaryDirectory(prefix="muster-") as temporary:
        where = (rundir or Path(temporary)).absolute()
        where.mkdir(parents=True, exist_ok=True)

        async def run() -> int:
            from muster.emulation.loopback import choose

            net, sentence = await asyncio.to_thread(choose, loaded, where)
            if sentence is not None:
                click.echo(sentence, err=True)
            async with net:
                return await _run(net, on or loaded.names(), list(command), where)

        return run_until_interrupted(run)


def fill(arguments: Sequence[str], name: str, address: str, connect: Sequence[str]) -> list[str]:
    """`arguments` with {name}, {address} and {connect} filled in; other braces stay."""
    values = {"{name}": name, "{address}": address, "{connect}": ",".join(connect)}
    filled = []
    for argument in arguments:
        for mark, value in values.items():
            argument = argument.replace(mark, value)
        filled.append(argument)
    return filled


def node_command(name: str, address: str, connect: Sequence[str], home: Path, bundle: Path) -> list[str]:
    """`muster node` with static endpoints."""
    argv = [
        sys.executable,
        "-m",
        "muster.cli.main",
        "node",
        "--name",
        name,
        "--home",
        str(home),
        "--no-discovery",
    ]
    argv += ["--bundle", str(bundle), "--listen", f"{address}:{PORT}"]
    for endpoint in connect:
        argv += ["--connect", endpoint]
    return argv


async def _run(net: Emulation, names: Sequence[str], command: list[str], where: Path) -> int:
    fleet = where / "fleet"
    if not command:
        from muster.network.trust.identity import machine_bundle

        bundles = {name: machine_bundle(fleet, name) for name in names}
    started = []
    for name in names:
        address = net.address(name)
        connect = [f"{other}:{PORT}" for other in net.neighbours(name)]
        argv = (
            fill(command, name, address, connect)
            if command
            else node_command(name, address, connect, where / name, bundles[name])
        )
        extra = {"MUSTER_NAME": name, "MUSTER_ADDRESS": address, "MUSTER_CONNECT": ",".join(connect)}
        started.append((name, await net.spawn(name, argv, env={**os.environ, **extra})))
    if not command:
        click.echo(f"{len(started)} nodes run; ask one: muster nodes --node {where / names[0]}", err=True)
    codes = await asyncio.gather(*(process.wait() for _, process in started))
    for (name, _), code in zip(started, codes, strict=True):
        if code:
            click.echo(f"muster: the command on {name} ended with {code}", err=True)
    return max((abs(code) for code in codes), default=0)
