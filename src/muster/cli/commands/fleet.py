"""`muster fleet`: the authority of a fleet, bundles for its nodes, and putting a node out."""

from __future__ import annotations

from pathlib import Path

import click

from muster.cli.output import emit, json_option, node_option

DIR = click.Path(file_okay=False, path_type=Path)


@click.group()
def fleet() -> None:
    """Make a fleet, let nodes in, put nodes out.

    A fleet is a certificate authority in a directory (default: ~/.local/share/muster/_fleet, which the first
    'muster node' on a machine makes by itself). Whoever has it decides who may take part.
    """


@fleet.command()
@click.option("--name", default="fleet", show_default=True, help="For people.")
@click.option("--dir", "directory", type=DIR, help="The fleet's directory.")
@json_option
def init(name: str, directory: Path | None, as_json: bool) -> None:
    """Make a fleet: its key and certificate."""
    from muster.network.trust.identity import init_fleet
    from muster.node.config import fleet_dir

    made = init_fleet(directory or fleet_dir(), name)
    if as_json:
        emit({"directory": str(made.directory), "name": made.name, "id": made.node.hex()})
    else:
        click.echo(
            f"fleet {made.name!r} is in {made.directory}; keep that directory safe, it decides who takes part"
        )
        click.echo("next: muster fleet issue NAME")


@fleet.command()
@click.argument("name")
@click.option("--dir", "directory", type=DIR, help="The fleet's directory.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the bundle.")
@json_option
def issue(name: str, directory: Path | None, to: Path | None, as_json: bool) -> None:
    """Make a bundle: the one file that lets node NAME take part."""
    from muster.network.trust.identity import issue as make
    from muster.network.trust.identity import load_bundle, machine_fleet
    from muster.node.config import fleet_dir

    where = directory or machine_fleet(fleet_dir()).directory
    path = make(where, name, to)
    if as_json:
        emit({"bundle": str(path), "name": name, "id": load_bundle(path).node.hex()})
    else:
        click.echo(f"{path} is the bundle of {name}: it holds a key, give it to that machine only")
        click.echo(f"there: muster node --bundle {path.name}")


@fleet.command()
@click.argument("name")
@click.option("--reason", default="revoked by the fleet's owner", help="One line, for people.")
@click.option("--dir", "directory", type=DIR, help="The fleet's directory.")
@click.option(
    "--bundle", type=click.Path(dir_okay=False, path_type=Path), help="NAME's bundle, if it lies elsewhere."
)
@click.option(
    "--distrust",
    is_flag=True,
    help="Let nothing stand that it made last and on which nobody built yet: somebody may have used its key.",
)
@node_option
@json_option
def revoke(
    name: str,
    reason: str,
    directory: Path | None,
    bundle: Path | None,
    distrust: bool,
    node: str | None,
    as_json: bool,
) -> None:
    """Put node NAME out of the fleet, for good; a running node of the fleet tells the others.

    What others built on counts on; so does what the running node holds of NAME now, without --distrust.
    """
    from muster.errors import MusterError
    from muster.network.trust.identity import load_bundle, load_fleet
    from muster.node.api.client import choose
    from muster.node.config import fleet_dir

    authority = load_fleet(directory or fleet_dir())
    issued = bundle or authority.directory / "nodes" / f"{name}.pem"
    if not issued.exists():
        raise MusterError("fleet", f"the bundle of {name!r} is not at {issued}: name its file with --bundle")
    member = load_bundle(issued)
    if member.name != name:
        raise MusterError("fleet", f"{issued} is the bundle of {member.name!r}, not of {name!r}")
    client = choose(node)  # before anything is signed: without a node nobody would hear of it
    held = [] if distrust else client.ask("to_stand", node=member.node.hex())["stands"]
    stands = map(bytes.fromhex, held)
    identifier, wire = authority.revoke(member.node, reason, member.name, stands)
    client.ask("record", wire=wire.hex())
    if as_json:
        emit({"record": identifier.hex(), "name": name, "id": member.node.hex()})
    else:
        click.echo(f"{name} is out of fleet {authority.name!r}; the revocation spreads from {client.home}")
