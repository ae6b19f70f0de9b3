from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.network.trust import identity
from muster.network.trust.certificates import common_name, verify_member
from muster.network.trust.identity import (
    FleetVerifier,
    Identity,
    init_fleet,
    issue,
    load_bundle,
    load_fleet,
    machine_bundle,
    machine_fleet,
)
from muster.network.trust.signing import TrustStore, UnknownAuthor, seal
from muster.protocol.envelope import RecordError, Signed, pack, unpack
from muster.protocol.ids import NOBODY
from muster.protocol.records import Member, Merge, Offer, Revocation, Stop
from muster.simulation.identities import PretendIdentity, PretendVerifier

STOP = Stop(job=bytes(32), reason="enough")


@pytest.fixture
def fleet_dir(tmp_path: Path) -> Path:
    return init_fleet(tmp_path / "fleet", "north").directory


def make(fleet_dir: Path, name: str) -> Identity:
    return load_bundle(issue(fleet_dir, name))


def trusting(*members: Identity) -> TrustStore:
    trust = TrustStore(FleetVerifier(members[0].ca_certificate))
    for member in members:
        trust.verify(seal(member, member.member())[1])
    return trust


def test_a_bundle_is_one_private_file_with_everything(fleet_dir: Path) -> None:
    path = issue(fleet_dir, "alpha")
    alpha = load_bundle(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((fleet_dir / "ca.key").stat().st_mode) == 0o600
    assert (alpha.name, alpha.fleet, len(alpha.node)) == ("alpha", "north", 32)
    assert alpha.key_pem().startswith(b"-----BEGIN PRIVATE KEY")
    assert alpha.certificate_pem().startswith(b"-----BEGIN CERTIFICATE")
    assert "PrivateKey" not in repr(alpha)


def test_nothing_half_written_is_left_beside_a_bundle(fleet_dir: Path) -> None:
    path = issue(fleet_dir, "alpha")
    with pytest.raises(MusterError, match="exists already"):
        issue(fleet_dir, "alpha")
    assert [entry.name for entry in path.parent.iterdir()] == ["alpha.pem"]


def test_the_certificate_says_who_the_node_is(fleet_dir: Path) -> None:
    alpha = make(fleet_dir, "alpha")
    node, name, key = verify_member(alpha.ca_certificate, alpha.certificate)
    assert (node, name) == (alpha.node, "alpha")
    key.verify(alpha.sign(b"word"), b"word")
    assert len(alpha.certificate) < 400  # it travels over narrow links


def test_a_name_given_twice_is_two_identities(fleet_dir: Path, tmp_path: Path) -> None:
    first = load_bundle(issue(fleet_dir, "alpha"))
    second = load_bundle(issue(fleet_dir, "alpha", tmp_path / "other.pem"))
    assert first.node != second.node
    assert common_name("alpha", first.node) != common_name("alpha", second.node)


def test_another_fleet_of_the_same_name_is_refused(fleet_dir: Path, tmp_path: Path) -> None:
    outsider = make(init_fleet(tmp_path / "other", "north").directory, "alpha")
    own = make(fleet_dir, "alpha")
    with pytest.raises(MusterError, match="another fleet") as caught:
        verify_member(own.ca_certificate, outsider.certificate)
    assert caught.value.code == "fleet"


@pytest.mark.parametrize("garbage", [b"", b"x", b"\x30\x82" + bytes(300), bytes(5000)])
def test_garbage_is_no_certificate(fleet_dir: Path, garbage: bytes) -> None:
    with pytest.raises(MusterError) as caught:
        verify_member(load_fleet(fleet_dir).ca_certificate, garbage)
    assert caught.value.code == "fleet"


def test_the_authority_is_no_member(fleet_dir: Path) -> None:
    ca = load_fleet(fleet_dir).ca_certificate
    with pytest.raises(MusterError, match="not a node's"):
        verify_member(ca, ca)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "a" * 33, "a:b", "../x"])
def test_a_bad_name_is_refused(fleet_dir: Path, name: str) -> None:
    with pytest.raises(MusterError, match="is no name"):
        issue(fleet_dir, name)


def test_bad_bundles_are_named_in_one_sentence(fleet_dir: Path, tmp_path: Path) -> None:
    good = issue(fleet_dir, "alpha").read_bytes()
    other = issue(fleet_dir, "bravo").read_bytes()
    key_end = good.index(b"-----BEGIN CERT")
    cases = {
        "no bundle at": None,
        "no node bundle": b"hello",
        "two certificates": good[: good.rindex(b"-----BEGIN CERT")],
        "private key": good[key_end:],
        "do not belong together": other[: other.index(b"-----BEGIN CERT")] + good[key_end:],
        "bytes long": bytes(100_000),
    }
    for number, (sentence, content) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(MusterError, match=sentence) as caught:
            load_bundle(path)
        assert caught.value.code == "fleet"


def test_a_fleet_is_not_made_twice_nor_found_where_none_is(fleet_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="already"):
        init_fleet(fleet_dir, "south")
    with pytest.raises(MusterError, match="no fleet"):
        issue(tmp_path / "nowhere", "alpha")


def test_a_fleet_half_made_by_a_crash_is_made_again(tmp_path: Path) -> None:
    directory = machine_fleet(tmp_path / "fleet").directory
    (directory / "ca.key").unlink()  # the certificate is written first
    assert machine_fleet(directory).node == load_fleet(directory).node


def test_two_daemons_that_start_together_share_one_fleet(tmp_path: Path) -> None:
    found: list[Identity] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        found.append(load_bundle(machine_bundle(tmp_path / "fleet", "alpha")))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({(one.node, one.ca_certificate) for one in found}) == 1


def test_a_record_comes_back_with_its_author(fleet_dir: Path) -> None:
    alpha, bravo = make(fleet_dir, "alpha"), make(fleet_dir, "bravo")
    identifier, wire = seal(alpha, STOP)
    assert trusting(bravo, alpha).verify(wire) == (identifier, alpha.node, STOP)
    assert len(wire) - len(STOP.reason) - 32 <= 120  # the envelope (docs/benchmarks.md)


def test_an_unknown_author_is_named(fleet_dir: Path) -> None:
    alpha, bravo = make(fleet_dir, "alpha"), make(fleet_dir, "bravo")
    with pytest.raises(UnknownAuthor) as caught:
        trusting(bravo).verify(seal(alpha, STOP)[1])
    assert caught.value.author == alpha.node


def test_forgeries_are_refused(fleet_dir: Path) -> None:
    alpha, bravo = make(fleet_dir, "alpha"), make(fleet_dir, "bravo")
    trust = trusting(alpha, bravo)
    honest = unpack(seal(bravo, STOP)[1])
    for forged in (
        Signed(honest.format, alpha.node, honest.needs, honest.body, honest.signature),
        Signed(honest.format, bravo.node, honest.needs, honest.body, b""),
        Signed(honest.format, bravo.node, honest.needs, honest.body[:-1] + b"!", honest.signature),
        Signed(honest.format, NOBODY, honest.needs, honest.body, b""),
    ):
        with pytest.raises(RecordError):
            trust.verify(pack(forged))


def test_nobody_can_introduce_somebody_else(fleet_dir: Path) -> None:
    alpha, bravo = make(fleet_dir, "alpha"), make(fleet_dir, "bravo")
    trust = trusting(alpha)
    for record in (bravo.member(), Member("alpha", bravo.certificate), Member("bravo", alpha.certificate)):
        with pytest.raises(RecordError):
            trust.verify_member(seal(alpha, record)[1])
    with pytest.raises(RecordError, match="introduces nobody"):
        trust.verify_member(seal(alpha, STOP)[1])
    assert not trust.knows(bravo.node)


def test_a_merge_has_no_author_and_no_signature(fleet_dir: Path) -> None:
    alpha = make(fleet_dir, "alpha")
    merge = Merge(bytes(32), (bytes(32), b"\x01" * 32))
    identifier, wire = seal(alpha, merge)
    assert trusting(alpha).verify(wire) == (identifier, NOBODY, merge)
    signed = unpack(wire)
    with pytest.raises(RecordError):
        trusting(alpha).verify(pack(Signed(signed.format, alpha.node, signed.needs, signed.body, b"")))
    with pytest.raises(RecordError):
        trusting(alpha).verify(pack(Signed(signed.format, NOBODY, signed.needs, signed.body, b"x")))


def test_a_revoked_member_is_out(fleet_dir: Path) -> None:
    alpha, bravo = make(fleet_dir, "alpha"), make(fleet_dir, "bravo")
    trust = trusting(alpha, bravo)
    with pytest.raises(RecordError, match="only the fleet's authority"):
        trust.verify(seal(alpha, Revocation(bravo.node, "a grudge"))[1])
    assert not trust.revoked(bravo.node)
    trust.verify(load_fleet(fleet_dir).revoke(bravo.node, "stolen")[1])
    assert trust.revoked(bravo.node)
    assert trust.why_revoked(bravo.node) == "stolen"
    assert trust.verify(seal(bravo, STOP)[1])[1] == bravo.node  # what it signed is still its own
    assert not trust.revoked(alpha.node)


def test_of_two_revocations_the_same_reason_counts_everywhere(fleet_dir: Path) -> None:
    alpha, fleet = make(fleet_dir, "alpha"), load_fleet(fleet_dir)
    wires = [
        fleet.revoke(alpha.node, "stolen", "alpha", [b"1" * 32])[1],
        fleet.revoke(alpha.node, "sold", "alpha", [b"2" * 32])[1],
    ]
    one, other = trusting(alpha), trusting(alpha)
    for trust, order in ((one, wires), (other, wires[::-1])):
        for wire in order:
            trust.verify(wire)
        assert trust.stands(b"1" * 32)
        assert trust.stands(b"2" * 32)
    assert one.why_revoked(alpha.node) == other.why_revoked(alpha.node)


def test_the_owner_signs_stops_and_revocations_only(fleet_dir: Path) -> None:
    alpha, fleet = make(fleet_dir, "alpha"), load_fleet(fleet_dir)
    trust = trusting(alpha)
    assert trust.verify(seal(fleet, STOP)[1])[1] == fleet.node == trust.authority
    with pytest.raises(RecordError, match=r"owner|authority"):
        trust.verify(seal(fleet, Offer(b"j" * 32, 1, 1, 10, 0.1))[1])
    honest = unpack(seal(fleet, STOP)[1])
    with pytest.raises(RecordError, match=r"owner|authority"):
        trust.verify(
            pack(Signed(honest.format, fleet.node, honest.needs, honest.body, alpha.sign(b"anything")))
        )


def test_a_revocation_needs_the_authoritys_signature(fleet_dir: Path) -> None:
    alpha = make(fleet_dir, "alpha")
    fleet = load_fleet(fleet_dir)
    honest = unpack(fleet.revoke(alpha.node, "x")[1])
    forged = pack(Signed(honest.format, fleet.node, honest.needs, honest.body, alpha.sign(b"anything")))
    with pytest.raises(RecordError, match="authority"):
        trusting(alpha).verify(forged)


def test_the_roll_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.network.trust.signing.MEMBERS_MAX", 2)
    trust = TrustStore(PretendVerifier())
    for name in ("a", "b"):
        who = PretendIdentity(name)
        trust.verify_member(seal(who, who.member())[1])
    third = PretendIdentity("c")
    with pytest.raises(MusterError, match="members"):
        trust.verify_member(seal(third, third.member())[1])


def test_a_pretended_fleet_behaves_alike() -> None:
    alpha, bravo = PretendIdentity("alpha"), PretendIdentity("bravo")
    trust = TrustStore(PretendVerifier())
    with pytest.raises(UnknownAuthor):
        trust.verify(seal(alpha, STOP)[1])
    trust.verify(seal(alpha, alpha.member())[1])
    assert trust.verify(seal(alpha, STOP)[1])[1] == alpha.node
    assert trust.name(alpha.node) == "alpha"
    signed = unpack(seal(bravo, STOP)[1])
    with pytest.raises(RecordError):
        trust.verify(pack(Signed(signed.format, alpha.node, signed.needs, signed.body, signed.signature)))
    trust.verify(seal(PretendIdentity("authority"), Revocation(alpha.node, "test"))[1])
    assert trust.revoked(alpha.node)


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MusterError, match="cannot be used"):
        identity.machine_fleet(tmp_path / "file" / "fleet")
