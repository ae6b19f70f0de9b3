"""Certificates of a fleet: what is in them, and what is believed of one that is shown.

Ed25519 keys throughout.  A node's id is the SHA-256 of its raw public key, so that a name can be given again
while an identity cannot.  Dates decide nothing: certificates are valid from 1970, where a small computer
without a clock boots, and have no end (RFC 5280, section 4.1.2.5, has a date that says so).

A certificate's common name is "<node name>:<first 16 bytes of the node id, base64url>"; the network engine
shows that name for each link, which is how a neighbour's claim to be a node is checked.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from muster.errors import MusterError
from muster.protocol.ids import NodeId

NAME_CHARS_MAX = 32
CERTIFICATE_BYTES_MAX = 2048

_VALID_FROM = datetime.datetime(1970, 1, 1)
_VALID_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
        subject = subject_of(own)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise MusterError("fleet", f"these bytes are no node certificate: {error}") from error
    try:
        own.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise MusterError(
            "fleet",
            f"the certificate of {subject!r} is from another fleet than {subject_of(authority)!r}: "
            "give the node a bundle of this fleet ('muster fleet issue NAME')",
        ) from error
    key = key_of(own)
    node = node_id(key)
    name = subject.rpartition(":")[0]
    if constraints.ca or not _NAME.fullmatch(name) or subject != common_name(name, node):
        raise MusterError("fleet", f"the certificate of {subject!r} is not a node's")
    return node, name, key


# ---- keys ------------------------------------------------------------------------------------------------


def raw_key(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def node_id(key: Ed25519PublicKey) -> NodeId:
    return hashlib.sha256(raw_key(key)).digest()


def verifies(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def key_of(certificate: x509.Certificate) -> Ed25519PublicKey:
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise MusterError("fleet", "this certificate is not one of Muster's: its key is not Ed25519")
    return key


def subject_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def pem_of_key(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem_of_der(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def load_key(pem: bytes, path: Path) -> Ed25519PrivateKey:
    begin = pem.find(b"-----BEGIN PRIVATE KEY-----")
    try:
        key = serialization.load_pem_private_key(pem[max(begin, 0) :], password=None)
    except (ValueError, TypeError) as error:
        raise MusterError("fleet", f"the private key in {path} cannot be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise MusterError("fleet", f"the private key in {path} is not an Ed25519 key")
    return key


# ---- making ----------------------------------------------------------------------------------------------


def authority_certificate(name: str, key: Ed25519PrivateKey) -> x509.Certificate:
    """Of a fleet called `name`, by itself."""
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
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, None)
    )


def node_certificate(fleet: str, authority: Ed25519PrivateKey, name: str, key: Ed25519PublicKey) -> bytes:
    """DER. Both TLS roles; the one SAN is a formality that rustls asks for (see zenoh/config.py)."""
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(common_name(name, node_id(key)), fleet, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("muster")]), critical=False)
        .sign(authority, None)
    )
    return certificate.public_bytes(serialization.Encoding.DER)


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
