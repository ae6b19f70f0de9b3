"""`muster codec`: what the update codecs make of a model."""

from __future__ import annotations

from pathlib import Path

import click

from muster.cli.output import emit, json_option, percent, size, table

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def codec() -> None:
    """Look at the codecs that updates are sent with.

    A job names them with --codec; the default, auto, chooses for each node and round.
    """


@codec.command()
@click.option("--model", type=FILE, metavar="FILE", help="A safetensors file. Default: mnist's cnn29k.")
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1, 100), help="Best of so many.")
@json_option
def bench(model: Path | None, repeat: int, as_json: bool) -> None:
    """Show size, error and speed of each codec on an update of a model.

    The update is made up: as large as its tensors ask for and heavy-tailed, as updates are. The error is
    what the message leaves unsent, as a share of the update's norm; error feedback sends it later.
    """
    from muster.compression import benchmark
    from muster.compression.codecs.families import EXAMPLES
    from muster.compression.example_update import mnist_update, update_for_file

    layout, update = mnist_update() if model is None else update_for_file(model)
    rows = [benchmark.measure(name, layout, update, repeat) for name in EXAMPLES]
    if as_json:
        emit({"model": str(model or "cnn29k"), "parameters": layout.parameters, "codecs": rows})
        return
    click.echo(f"{model or 'mnist, cnn29k'}: {layout.parameters:,} parameters, one core")
    table(
        ("CODEC", "MESSAGE", "TIMES FEWER", "ERROR", "ENCODE", "DECODE"),
        [
            [
                row.codec,
                size(row.message_bytes),
                f"{row.times_fewer:.1f}",
                percent(row.relative_error),
                f"{1000 * row.encode_s:.2f} ms",
                f"{1000 * row.decode_s:.2f} ms",
            ]
            for row in rows
        ],
    )
