"""What a version of Muster wrote is read by all later ones (`goldens`, `scripts/golden.py`)."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from goldens import COMMAND, KINDS, RELEASED, ROOT, contents, core_of, fields_of, of_this_version, said

from muster.network.trust.signing import TrustStore, seal
from muster.protocol.envelope import RecordError, unpack
from muster.protocol.validation.validate import validate
from muster.protocol.versions import VERSION, Unknown
from muster.protocol.vocabulary import CURRENT
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork

VERSIONS = sorted((path for path in ROOT.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def advice(version: Path) -> str:
    """What to do when a version's files are not read as they were written."""
    if int(version.name) > RELEASED:
        return f"version {version.name} was never released: write its files again with {COMMAND}"
    return f"version {version.name} was released: what it wrote must be read as it was written"


def records_of(version: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((version / "records.json").read_text())
    return found


def test_this_version_has_files() -> None:
    assert of_this_version() in VERSIONS, f"write them with {COMMAND}"
    assert {golden["kind"] for golden in records_of(of_this_version())} == set(KINDS), advice(
        of_this_version()
    )


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_its_records_are_read(version: Path) -> None:
    trust = TrustStore(PretendVerifier())
    trust.verify(seal(PretendIdentity("alpha"), PretendIdentity("alpha").member())[1])
    for golden in records_of(version):
        wire = bytes.fromhex(golden["wire"])
        signed = unpack(wire)
        assert signed.id.hex() == golden["id"], advice(version)
        try:
            record = CURRENT.read(signed.body, signed.needs)
        except RecordError as error:
            pytest.fail(f"a {golden['kind']} record: {error}; {advice(version)}")
        assert not isinstance(record, Unknown), advice(version)
        assert golden["kind"] == record.KIND
        assert validate(record) is None, advice(version)
        assert CURRENT.encode(record) == signed.body, advice(version)
        assert within(json.loads(golden["says"]), json.loads(said(record))), advice(version)
        if record.KIND not in ("member", "revocation"):  # which others than a member make
            assert trust.verify(wire)[2] == record


def within(old: Any, new: Any) -> bool:
    """Whether all that was said then is read now; there may be more fields."""
    if isinstance(old, dict):
        return old.keys() <= new.keys() and all(within(old[name], new[name]) for name in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(map(within, old, new))
    return bool(old == new)


def test_they_have_every_field() -> None:
    """Each field of this version is once not its default."""
    lacking = []
    for kind in KINDS.values():
        records = [
            CURRENT.decode(unpack(bytes.fromhex(g["wire"])).body) for g in records_of(of_this_version())
        ]
        have = {field for record in records if isinstance(record, kind) for field in fields_of(record)}
        lacking += [f"{kind.KIND}.{name}" for name in kind.__struct_fields__ if f".{name}" not in have]
    assert lacking == [], advice(of_this_version())


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_its_home_is_taken_up(version: Path, tmp_path: Path) -> None:
    """A node starts on it, has what was there, and goes on with the job that is not over."""
    home = tmp_path / "home"
    shutil.copytree(version / "home", home)
    bundle = tmp_path / "alpha.pem"
    bundle.write_bytes((version / "alpha.pem").read_bytes())
    bundle.chmod(0o600)
    expected = json.loads((version / "home.json").read_text())

    async def story() -> None:
        core = core_of(home, bundle, SimNetwork(random.Random(1)))
        await core.start()
        assert within(expected, contents(core)), advice(version)
        assert not core.ledger.quarantined, core.ledger.refusals.last
        assert core.ledger.refusals.invalid == 0
        for known in expected["jobs"].values():
            assert core.store.has_blob(bytes.fromhex(known["params"]))
            assert core.store.sound(bytes.fromhex(known["params"]))
        await core.close()

    run(story())


def test_a_changed_record_is_noticed() -> None:
    """The advice names the command while the version was never released."""
    assert advice(ROOT / str(RELEASED + 1)).endswith(f"write its files again with {COMMAND}")
    assert "must be read" in advice(ROOT / str(RELEASED))
    assert VERSION in (RELEASED, RELEASED + 1)
