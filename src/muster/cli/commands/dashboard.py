"""`muster dashboard`: the page of a node that runs on this machine, served by a process of its own."""

from __future__ import annotations

import click


@click.command()
@click.option("--node", "of", metavar="NODE", help="Home or name of the node. Default: the only one here.")
@click.option(
    "--listen",
    default="",
    metavar="HOST:PORT",
    help="Default 127.0.0.1:7450, or the next free port; elsewhere a token is shown.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def dashboard(of: str | None, listen: str, no_open: bool) -> None:
    """Serve the page of NODE until Ctrl-C: network, training, history, contributions.

    When the node is part of a running emulation its links can be cut and changed on the page.
    """
    import asyncio
    import contextlib

    from muster.cli.browser import show
    from muster.dashboard.page import emulation_of, open_page
    from muster.http.address import address
    from muster.node.api.client import choose

    home, where = choose(of).home, address(listen)

    async def run() -> None:
        async with open_page(home, where, rundir=emulation_of(home)) as opened:
            for line in opened.lines():
                click.echo(line)
            if not no_open:
                show(opened.own)
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
