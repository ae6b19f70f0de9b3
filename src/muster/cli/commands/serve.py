"""`muster serve`: answer requests with a task's model, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("task")
@click.option(
    "--config", "-c", "path", type=CONFIG, help="A node.toml: its home, and [tasks.TASK.serve] of it."
)
@click.option("--home", metavar="DIR", help="The node's home. Default: that of the only node here.")
@click.option("--listen", metavar="HOST", help="Default 127.0.0.1; elsewhere clients need a token.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first that is free from 7460.")
def serve(task: str, path: Path | None, home: str | None, listen: str | None, port: int | None) -> None:
    """Answer requests with the model of TASK that is in use, until Ctrl-C (docs/serving.md).

    The node need not run. A node serves the tasks with a section [tasks.TASK.serve] in its node.toml by
    itself.
    """
    import asyncio

    import msgspec

    from muster.cli.home import home_and_config
    from muster.errors import MusterError
    from muster.serving.main import say
    from muster.serving.main import serve as serve_task
    from muster.serving.settings import ServeConfig, wrong_key

    where, config = home_and_config(path, home)
    given = {name: value for name, value in (("listen", listen), ("port", port)) if value is not None}
    settings = msgspec.structs.replace(config.serve.get(task, ServeConfig()), **given)
    if (wrong := wrong_key(settings)) is not None:
        raise MusterError("usage", f"--{wrong[0]}: {wrong[1]}")
    asyncio.run(serve_task(where, task, settings, say, by_hand=True))
