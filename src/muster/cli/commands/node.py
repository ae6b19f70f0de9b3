"""`muster node`: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster.node.log.lines import LEVELS, Level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from muster.node.daemon import Beside, Say
    from muster.node.log.printer import Form

CONFIG = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", "-c", "path", type=CONFIG, help="A node.toml; every key has a default.")
@click.option("--name", help="Default: the host's name.")
@click.option("--home", metavar="DIR", help="Where it keeps everything. Default: ~/.local/share/muster/NAME.")
@click.option(
    "--listen", multiple=True, metavar="HOST:PORT", help="QUIC (UDP). Default: 7447 or any free port."
)
@click.option(
    "--connect", multiple=True, metavar="HOST:PORT", help="A neighbour; may be given several times."
)
@click.option(
    "--bundle", metavar="FILE", help="This node's place in a fleet. Default: this machine's own fleet."
)
@click.option("--no-discovery", is_flag=True, help="Do not look for nodes on the local network.")
@click.option("--profile", type=click.Choice(["auto", "lan", "narrow"]), help="Of the links; default auto.")
@click.option(
    "--page",
    is_flag=False,
    flag_value="",
    metavar="[HOST:PORT]",
    help="Serve the page, too. Default 127.0.0.1:7450; elsewhere a token is shown here.",
)
@click.option(
    "--log",
    "form",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    help="json: one object a line. Default: to the journal where systemd started the node, else text.",
)
@click.option(
    "--log-level",
    "level",
    type=click.Choice(LEVELS),
    default="info",
    help="This and what is graver; default info.",
)
@click.option("--check", is_flag=True, help="Only read the configuration, print it as JSON and end.")
def node(
    path: Path | None,
    check: bool,
    no_discovery: bool,
    page: str | None,
    form: Form,
    level: Level,
    **given: Any,
) -> None:
    """Run a node in the foreground until Ctrl-C or SIGTERM.

    Two nodes on one machine or one local network find each other by themselves.
    """
    from muster.node.config import load_config

    overrides = {key: value for key, value in given.items() if value not in (None, ())}
    if no_discovery:
        overrides["discovery"] = False
    config = load_config(path, overrides)
    if check:
        import msgspec

        click.echo(msgspec.json.encode(config, enc_hook=str).decode())
        return
    import asyncio

    from muster.node.daemon import run_node
    from muster.node.log.printer import LogOptions

    beside = None if page is None else _beside(page)
    asyncio.run(run_node(config, beside, LogOptions(form, level)))


def _beside(text: str) -> Beside:
    """The page of this node, as long as it runs. What the page needs is imported only here."""
    import contextlib

    from muster.dashboard.page import emulation_of, open_page
    from muster.http.address import address

    where = address(text)

    @contextlib.asynccontextmanager
    async def beside(home: Path, say: Say) -> AsyncIterator[None]:
        async with open_page(home, where, rundir=emulation_of(home)) as opened:
            for line in opened.lines():
                say(line)
            yield

    return beside
