"""Fleets and identities: who may take part, and who made a record.

A fleet is a certificate authority, made by its owner with one command.  A node's identity is one Ed25519
key with a certificate by that authority; the same key proves the node to its neighbours (mutual TLS inside
QUIC) and signs its records.  What is in a certificate and how one is checked is in `certificates`.

Members leave by a `Revocation` record that the authority's key signs and that spreads like every record.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.errors import MusterError
from muster.network.trust.certificates import (
    authority_certificate,
    check_name,
    key_of,
    load_key,
    node_certificate,
    node_id,
    pem_of_der,
    pem_of_key,
    raw_key,
    subject_of,
    verifies,
    verify_member,
)
from muster.network.trust.signing import VerifiedMember, seal
from muster.protocol.ids import JobId, NodeId, RecordId
from muster.protocol.records import Member, Revocation, Stop
from muster.protocol.validation.limits import clean

BUNDLE_BYTES_MAX = 64 * 1024

_CA_KEY, _CA_CERTIFICATE, _LOCK, _BUNDLES = "ca.key", "ca.pem", ".lock", "nodes"


@dataclass(frozen=True)
class Identity:
    """One node's bundle: its key, its certificate, its fleet's certificate."""

    node: NodeId
    name: str
    fleet: str  # the fleet's name, for people
    certificate: bytes  # DER
    ca_certificate: bytes  # DER
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def member(self) -> Member:
        """The record by which this node introduces itself."""
        return Member(self.name, self.certificate)

    def key_pem(self) -> bytes:
        return pem_of_key(self._key)

    def certificate_pem(self) -> bytes:
        return pem_of_der(self.certificate)

    def ca_pem(self) -> bytes:
        return pem_of_der(self.ca_certificate)


@dataclass(frozen=True)
class Fleet:
    """The authority itself, loaded from its directory; as a `Signer` it makes revocations."""

    directory: Path
    name: str
    node: NodeId  # the authority's id
    ca_certificate: bytes  # DER
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def revoke(
        self, node: NodeId, reason: str, name: str = "", stands: Iterable[RecordId] = ()
    ) -> tuple[RecordId, bytes]:
        """A signed record that puts `node` out of the fleet wherever it arrives.

        `stands`: its records that count all the same, beside those that others build on."""
        return seal(self, Revocation(node, clean(reason), name, tuple(sorted(set(stands)))))

    def stop(self, job: JobId, reason: str) -> tuple[RecordId, bytes]:
        """A signed record that ends a job, whoever asked for it."""
        return seal(self, Stop(job, clean(reason)))


# ---- making fleets and bundles ---------------------------------------------------------------------------


def init_fleet(directory: Path, name: str) -> Fleet:
    """Make a fleet's authority in `directory`. Raises MusterError if there is one already."""
    check_name(name)
    with _locked(directory):
        if (directory / _CA_KEY).exists():
            raise MusterError(
                "fleet", f"there is a fleet in {directory} already: choose another directory, or use it"
            )
        return _make_fleet(directory, name)


def load_fleet(directory: Path) -> Fleet:
    """The authority in `directory`. Raises MusterError("fleet") when there is none or it is damaged."""
    try:
        key_pem = (directory / _CA_KEY).read_bytes()
        certificate = x509.load_pem_x509_certificate((directory / _CA_CERTIFICATE).read_bytes())
    except FileNotFoundError as error:
        raise MusterError(
            "fleet", f"there is no fleet in {directory}: make one with 'muster fleet init'"
        ) from error
    except OSError as error:
        raise MusterError("fleet", f"the fleet in {directory} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MusterError("fleet", f"{directory / _CA_CERTIFICATE} is no certificate: {error}") from error
    key = load_key(key_pem, directory / _CA_KEY)
    if raw_key(key.public_key()) != raw_key(key_of(certificate)):
        raise MusterError("fleet", f"key and certificate in {directory} do not belong together")
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Fleet(directory, subject_of(certificate), node_id(key.public_key()), der, key)


def issue(fleet_dir: Path, node_name: str, to: Path | None = None) -> Path:
    """Make a new identity in the fleet; the path of its bundle (one file, readable by its owner only).

    `to` defaults to nodes/<name>.pem in the fleet's directory.  An existing file is never overwritten.
    """
    check_name(node_name)
    fleet = load_fleet(fleet_dir)
    path = to if to is not None else fleet_dir / _BUNDLES / f"{node_name}.pem"
    key = Ed25519PrivateKey.generate()
    certificate = node_certificate(fleet.name, fleet._key, node_name, key.public_key())
    text = (
        f"# Muster node bundle: node {node_name!r} of fleet {fleet.name!r}. It holds a private key: keep it\n"
        '# secret, give it to this one node only (bundle = "FILE" in node.toml).\n'
    )
    content = text.encode() + pem_of_key(key) + pem_of_der(certificate) + pem_of_der(fleet.ca_certificate)
    _write_new(path, content)
    return path


def load_bundle(path: Path) -> Identity:
    """The identity in a bundle file. Raises MusterError("fleet") with what is wrong with it."""
    try:
        with open(path, "rb") as file:
            content = file.read(BUNDLE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise MusterError(
            "fleet",
            f"there is no bundle at {path}: the fleet's owner makes one with 'muster fleet issue NAME'",
        ) from error
    except OSError as error:
        raise MusterError("fleet", f"the bundle {path} cannot be read: {error.strerror}") from error
    if len(content) > BUNDLE_BYTES_MAX:
        raise MusterError("fleet", f"{path} is no node bundle: it is over {BUNDLE_BYTES_MAX} bytes long")
    try:
        own, authority = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise MusterError(
            "fleet", f"{path} is no node bundle: it must hold a key and two certificates ({error})"
        ) from error
    key = load_key(content, path)
    der = own.public_bytes(serialization.Encoding.DER)
    ca_der = authority.public_bytes(serialization.Encoding.DER)
    node, name, public = verify_member(ca_der, der)
    if raw_key(public) != raw_key(key.public_key()):
        raise MusterError("fleet", f"key and certificate in {path} do not belong together")
    return Identity(node, name, subject_of(authority), der, ca_der, key)


def machine_fleet(directory: Path) -> Fleet:
    """This machine's own fleet, made at the first start; two daemons may call this at the same instant."""
    with _locked(directory):
        if (directory / _CA_KEY).exists():
            return load_fleet(directory)
        return _make_fleet(directory, "this-machine")


def machine_bundle(directory: Path, node_name: str) -> Path:
    """The bundle of `node_name` in this machine's fleet, made when there is none yet."""
    check_name(node_name)
    machine_fleet(directory)
    with _locked(directory):
        path = directory / _BUNDLES / f"{node_name}.pem"
        return path if path.exists() else issue(directory, node_name)


# ---- checking --------------------------------------------------------------------------------------------


class FleetVerifier:
    """The trust that a node's bundle gives: its fleet's authority."""

    def __init__(self, ca_certificate: bytes) -> None:
        self._ca = ca_certificate
        self._key = key_of(x509.load_der_x509_certificate(ca_certificate))
        self.authority: NodeId = node_id(self._key)

    def member(self, certificate: bytes) -> VerifiedMember:
        node, name, key = verify_member(self._ca, certificate)
        return VerifiedMember(node, name, certificate, lambda signature, data: verifies(key, signature, data))

    def by_authority(self, signature: bytes, data: bytes) -> bool:
        return verifies(self._key, signature, data)


# ---- parts -----------------------------------------------------------------------------------------------


def _make_fleet(directory: Path, name: str) -> Fleet:
    key = Ed25519PrivateKey.generate()
    certificate = authority_certificate(name, key)
    # The key goes last: a directory with a key is a whole fleet, one without is none (kill -9 in between).
    (directory / _CA_CERTIFICATE).unlink(missing_ok=True)
    _write_new(directory / _CA_CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
    _write_new(directory / _CA_KEY, pem_of_key(key))
    return load_fleet(directory)


def _write_new(path: Path, content: bytes) -> None:
    """All of it or nothing, mode 0600, durable; never over an existing file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise MusterError(
            "fleet", f"{path} exists already: choose another name or remove it, it is not overwritten"
        ) from error
    except OSError as error:
        raise MusterError("fleet", f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, so it cannot be left behind."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MusterError("fleet", f"{directory} cannot be used for a fleet: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
