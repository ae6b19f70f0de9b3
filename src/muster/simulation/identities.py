"""Cheap identities: a fleet without certificates or curves, for simulations and tests.

They have the right shapes and sizes, come out the same each time, and protect nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from muster.errors import MusterError
from muster.network.trust.signing import VerifiedMember
from muster.protocol.ids import NodeId
from muster.protocol.records import Member


@dataclass(frozen=True)
class PretendIdentity:
    """Signs as one node of a simulated fleet: anybody could make the same signature."""

    name: str

    @property
    def node(self) -> NodeId:
        return hashlib.sha256(b"pretend" + self.name.encode()).digest()

    @property
    def certificate(self) -> bytes:
        return b"pretend" + self.name.encode()

    def sign(self, data: bytes) -> bytes:
        return _pretend_signature(self.node, data)

    def member(self) -> Member:
        return Member(self.name, self.certificate)


OWNER = PretendIdentity("authority")


class PretendVerifier:
    """Vouches for every `PretendIdentity`; `OWNER` is the authority."""

    authority: NodeId = OWNER.node

    def member(self, certificate: bytes) -> VerifiedMember:
        if not certificate.startswith(b"pretend"):
            raise MusterError("fleet", "these bytes are no pretended certificate")
        who = PretendIdentity(certificate[len(b"pretend") :].decode())
        return VerifiedMember(
            who.node, who.name, certificate, lambda signature, data: who.sign(data) == signature
        )

    def by_authority(self, signature: bytes, data: bytes) -> bool:
        return _pretend_signature(self.authority, data) == signature


def _pretend_signature(node: NodeId, data: bytes) -> bytes:
    return hmac.digest(node, data, "sha512")
