"""Fleets and identities: who may take part, and who made a record (design section 9).

A fleet is a certificate authority, made by its owner with one command.  A node's identity is one Ed25519
key with a certificate by that authority; the same key proves the node to its neighbours (mutual TLS inside
QUIC) and signs its records.  A node's id is the SHA-256 of its raw public key, so that a name can be given
again while an identity cannot.

Dates decide nothing: certificates are valid from 2000 to 2100, since a small board boots without a clock.
Members leave by a `Revocation` record that the authority's key signs and that spreads like every record.

A certificate's common name is "<node name>:<first 16 bytes of the node id, base64url>"; the network engine
shows that name for each link, which is how a neighbour's claim to be a node is checked.
"""

from __future__ import annotations

import base64
import datetime
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from muster.errors import MusterError
from muster.network.seals import (
    Known,
    PretendIdentity,
    PretendVerifier,
    Roll,
    Signer,
    UnknownAuthor,
    Verifier,
    seal,
)
from muster.records import Member, NodeId, RecordId, Revocation

__all__ = [
    "Fleet",
    "FleetVerifier",
    "Identity",
    "Known",
    "PretendIdentity",
    "PretendVerifier",
    "Roll",
    "Signer",
    "UnknownAuthor",
    "Verifier",
    "check_name",
    "common_name",
    "init_fleet",
    "issue",
    "load_bundle",
    "load_fleet",
    "machine_bundle",
    "machine_fleet",
    "seal",
    "verify_member",
]

NAME_CHARS_MAX = 32
CERTIFICATE_BYTES_MAX = 2048
BUNDLE_BYTES_MAX = 64 * 1024

_VALID_FROM = datetime.datetime(2000, 1, 1)
_VALID_UNTIL = datetime.datetime(2100, 1, 1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
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
        return _key_pem(self._key)

    def certificate_pem(self) -> bytes:
        return _der_to_pem(self.certificate)

    def ca_pem(self) -> bytes:
        return _der_to_pem(self.ca_certificate)


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

    def revoke(self, node: NodeId, reason: str) -> tuple[RecordId, bytes]:
        """A signed record that puts `node` out of the fleet wherever it arrives."""
        return seal(self, Revocation(node, reason))


def common_name(name: str, node: NodeId) -> str:
    """What the engine shows as the name of a link's far end."""
    return f"{name}:{base64.urlsafe_b64encode(node[:16]).decode().rstrip('=')}"


def check_name(name: str) -> str:
    """`name` itself; raises MusterError("usage") when it cannot be a node's or a fleet's name."""
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise MusterError(
            "usage",
            f"{name!r} is no name: use 1 to {NAME_CHARS_MAX} letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit",
        )
    return name


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
    key = _load_key(key_pem, directory / _CA_KEY)
    if _raw(key.public_key()) != _raw(_ed25519(certificate)):
        raise MusterError("fleet", f"key and certificate in {directory} do not belong together")
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Fleet(directory, _subject(certificate), _node_id(key.public_key()), der, key)


def issue(fleet_dir: Path, node_name: str, to: Path | None = None) -> Path:
    """Make a new identity in the fleet; the path of its bundle (one file, readable by its owner only).

    `to` defaults to nodes/<name>.pem in the fleet's directory.  An existing file is never overwritten.
    """
    check_name(node_name)
    fleet = load_fleet(fleet_dir)
    path = to if to is not None else fleet_dir / _BUNDLES / f"{node_name}.pem"
    key = Ed25519PrivateKey.generate()
    certificate = _node_certificate(fleet, node_name, key.public_key())
    text = (
        f"# Muster node bundle: node {node_name!r} of fleet {fleet.name!r}. It holds a private key: keep it\n"
        '# secret, give it to this one node only (bundle = "FILE" in node.toml).\n'
    )
    content = text.encode() + _key_pem(key) + _der_to_pem(certificate) + _der_to_pem(fleet.ca_certificate)
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
    key = _load_key(content, path)
    der = own.public_bytes(serialization.Encoding.DER)
    ca_der = authority.public_bytes(serialization.Encoding.DER)
    node, name, public = verify_member(ca_der, der)
    if _raw(public) != _raw(key.public_key()):
        raise MusterError("fleet", f"key and certificate in {path} do not belong together")
    return Identity(node, name, _subject(authority), der, ca_der, key)


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


def verify_member(ca: bytes, certificate: bytes) -> tuple[NodeId, str, Ed25519PublicKey]:
    """Id, name and key of the member whose DER certificate this is, if the authority `ca` (DER) issued it.

    Raises MusterError("fleet") for another fleet's certificate, for a wrong kind, and for garbage.
    """
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise MusterError("fleet", f"a certificate of {len(certificate)} bytes is over the limit")
    try:
        authority = x509.load_der_x509_certificate(ca)
        own = x509.load_der_x509_certificate(certificate)
        constraints = own.extensions.get_extension_for_class(x509.BasicConstraints).value
        subject = _subject(own)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise MusterError("fleet", f"these bytes are no node certificate: {error}") from error
    try:
        own.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise MusterError(
            "fleet",
            f"the certificate of {subject!r} is from another fleet than {_subject(authority)!r}: "
            "give the node a bundle of this fleet ('muster fleet issue NAME')",
        ) from error
    key = _ed25519(own)
    node = _node_id(key)
    name = subject.rpartition(":")[0]
    if constraints.ca or not _NAME.fullmatch(name) or subject != common_name(name, node):
        raise MusterError("fleet", f"the certificate of {subject!r} is not a node's")
    return node, name, key


class FleetVerifier:
    """The trust that a node's bundle gives: its fleet's authority."""

    def __init__(self, ca_certificate: bytes) -> None:
        self._ca = ca_certificate
        self._key = _ed25519(x509.load_der_x509_certificate(ca_certificate))
        self.authority: NodeId = _node_id(self._key)

    def member(self, certificate: bytes) -> Known:
        node, name, key = verify_member(self._ca, certificate)
        return Known(node, name, certificate, lambda signature, data: _verifies(key, signature, data))

    def by_authority(self, signature: bytes, data: bytes) -> bool:
        return _verifies(self._key, signature, data)


# ---- parts -----------------------------------------------------------------------------------------------


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _node_id(key: Ed25519PublicKey) -> NodeId:
    return hashlib.sha256(_raw(key)).digest()


def _verifies(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _ed25519(certificate: x509.Certificate) -> Ed25519PublicKey:
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise MusterError("fleet", "this certificate is not one of Muster's: its key is not Ed25519")
    return key


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _key_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _der_to_pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _load_key(pem: bytes, path: Path) -> Ed25519PrivateKey:
    begin = pem.find(b"-----BEGIN PRIVATE KEY-----")
    try:
        key = serialization.load_pem_private_key(pem[max(begin, 0) :], password=None)
    except (ValueError, TypeError) as error:
        raise MusterError("fleet", f"the private key in {path} cannot be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise MusterError("fleet", f"the private key in {path} is not an Ed25519 key")
    return key


def _builder(subject: str, issuer: str, key: Ed25519PublicKey) -> x509.CertificateBuilder:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key)
        .serial_number(secrets.randbits(63) | 1 << 62)
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
    )


def _make_fleet(directory: Path, name: str) -> Fleet:
    key = Ed25519PrivateKey.generate()
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, None)
    )
    # The key goes last: a directory with a key is a whole fleet, one without is none (kill -9 in between).
    (directory / _CA_CERTIFICATE).unlink(missing_ok=True)
    _write_new(directory / _CA_CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
    _write_new(directory / _CA_KEY, _key_pem(key))
    return load_fleet(directory)


def _node_certificate(fleet: Fleet, name: str, key: Ed25519PublicKey) -> bytes:
    """DER. Both TLS roles; the one SAN is a formality that rustls asks for (see zenoh_config.py)."""
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(common_name(name, _node_id(key)), fleet.name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("muster")]), critical=False)
        .sign(fleet._key, None)
    )
    return certificate.public_bytes(serialization.Encoding.DER)


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
