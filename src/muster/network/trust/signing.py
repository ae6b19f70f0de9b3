"""Signed records: who made a record, and is that a member of the fleet?

Nothing here knows certificates or curves: a `Signer` signs, a `Verifier` says what the fleet's authority
vouches for.  `trust.identity` has the real ones, `simulation.identities` has cheap ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from muster.errors import MusterError
from muster.protocol.envelope import FORMAT, RecordError, Signed, pack, unpack
from muster.protocol.ids import NOBODY, NodeId, RecordId, short
from muster.protocol.records import RECORD_BYTES_MAX, Member, Merge, Record, Revocation, Stop
from muster.protocol.versions import Received, Unknown
from muster.protocol.vocabulary import CURRENT, Vocabulary

MEMBERS_MAX = 4096  # known to one node
REVOKED_MAX = 4096


class UnknownAuthor(Exception):
    """A record by a node whose certificate has not arrived yet: ask for its Member record."""

    def __init__(self, author: NodeId) -> None:
        super().__init__(f"the certificate of node {short(author)} is not known here yet")
        self.author = author


class Signer(Protocol):
    """Who can make records: a node (`Identity`), a fleet's authority (`Fleet`), or a node of a simulation."""

    @property
    def node(self) -> NodeId: ...

    def sign(self, data: bytes) -> bytes: ...


@dataclass(frozen=True)
class VerifiedMember:
    """A member whose certificate was checked; `verify(signature, data)` is True for its own signatures."""

    node: NodeId
    name: str
    certificate: bytes
    verify: Callable[[bytes, bytes], bool] = field(compare=False, repr=False)


class Verifier(Protocol):
    """Relied on by a `TrustStore`: the authority's id, its signatures, and the certificates it issued."""

    @property
    def authority(self) -> NodeId: ...

    def member(self, certificate: bytes) -> VerifiedMember:
        """Raises MusterError("fleet", ...) for the wrong fleet or garbage."""

    def by_authority(self, signature: bytes, data: bytes) -> bool: ...


def seal(signer: Signer, record: Record, vocabulary: Vocabulary = CURRENT) -> tuple[RecordId, bytes]:
    """Encode, name and sign a record: (id, wire bytes). A Merge has no author and no signature."""
    author = NOBODY if isinstance(record, Merge) else signer.node
    plain = Signed(FORMAT, author, vocabulary.needs(record), vocabulary.encode(record), b"")
    identifier = plain.id
    wire = pack(plain if isinstance(record, Merge) else replace(plain, signature=signer.sign(identifier)))
    if len(wire) > RECORD_BYTES_MAX:
        raise RecordError(
            f"a {record.KIND} record of {len(wire)} bytes is over the limit of {RECORD_BYTES_MAX}"
        )
    return identifier, wire


class TrustStore:
    """Keeps the members that this node knows and checks records by them.

    At most `MEMBERS_MAX` members and `REVOKED_MAX` revocations; beyond that a new fleet must be made.
    """

    def __init__(self, verifier: Verifier, vocabulary: Vocabulary = CURRENT) -> None:
        self._verifier, self.vocabulary = verifier, vocabulary
        self._members: dict[NodeId, VerifiedMember] = {}
        self._named: dict[str, set[NodeId]] = {}
        self._revoked: dict[NodeId, dict[RecordId, Revocation]] = {}
        self._stands: set[RecordId] = set()  # records of revoked members that their revocations name

    def members(self) -> dict[NodeId, VerifiedMember]:
        return dict(self._members)

    def name(self, node: NodeId) -> str:
        """The member's name, with the beginning of its id where another member has the same one; only that
        while its certificate is unknown."""
        known = self._members.get(node)
        if known is None:
            return short(node)
        others = any(other != node and not self.revoked(other) for other in self._named.get(known.name, ()))
        return f"{known.name} ({short(node)})" if others else known.name

    def namesakes(self) -> dict[str, list[str]]:
        """Names that several members have, and the beginnings of their ids."""
        return {name: ids for name in self._named if (ids := self.namesakes_of(name))}

    def namesakes_of(self, name: str) -> list[str]:
        """The beginnings of the ids of members of one name; none where it is one member's only."""
        nodes = [node for node in self._named.get(name, ()) if not self.revoked(node)]
        return sorted(map(short, nodes)) if len(nodes) > 1 else []

    def knows(self, node: NodeId) -> bool:
        return node in self._members

    def revoked(self, node: NodeId) -> bool:
        return node in self._revoked

    @property
    def authority(self) -> NodeId:
        """The fleet's owner."""
        return self._verifier.authority

    @property
    def revocations(self) -> int:
        """How many are known."""
        return sum(map(len, self._revoked.values()))

    def stands(self, record_id: RecordId) -> bool:
        """Whether a revocation names this record of its member as one that counts all the same."""
        return record_id in self._stands

    def why_revoked(self, node: NodeId) -> str:
        """The reason that the fleet's owner gave; "" for one that was not revoked."""
        known = self._revoked.get(node)
        return known[min(known)].reason if known else ""

    def verify_member(self, wire: bytes) -> VerifiedMember:
        """Check a signed Member record and keep the member. Raises MusterError("fleet") or RecordError."""
        signed, identifier, record = self._decoded(wire)
        if not isinstance(record, Member):
            raise RecordError(f"a {record.KIND} record introduces nobody")
        return self._add_member(signed, identifier, record)

    def verify(self, wire: bytes) -> tuple[RecordId, NodeId, Received]:
        """Check a record: (id, author, record). Member and Revocation records take effect at once. One of a
        later version is by a member, or by the fleet's authority.

        Raises UnknownAuthor, MusterError("fleet") for a wrong certificate, RecordError for anything
        malformed or with a signature that is not its author's. What of a revoked author counts is up to
        whoever asks (`revoked`, `stands`).
        """
        signed, identifier, record = self._decoded(wire)
        if isinstance(record, Member):
            self._add_member(signed, identifier, record)
        elif isinstance(record, Revocation):
            self._revoke(signed, identifier, record)
        elif isinstance(record, Merge) or signed.author == NOBODY:
            self._check_unsigned(signed, record)
        elif signed.author == self._verifier.authority:
            if not isinstance(record, Stop | Unknown):
                raise RecordError(f"a {record.KIND} record is not the fleet's owner's to make")
            if not self._verifier.by_authority(signed.signature, identifier):
                raise RecordError("a record in the name of the fleet's authority is not signed by it")
        else:
            self._check_author(signed, identifier)
        return identifier, signed.author, record

    def _check_unsigned(self, signed: Signed, record: Received) -> None:
        """A merge is what everybody makes of its parents: of fields that not all know, each would be another
        record that nobody has signed."""
        if not isinstance(record, Merge) or signed.author != NOBODY or signed.signature:
            raise RecordError(f"a {record.KIND} record must have {'no' if signed.author else 'an'} author")
        exact = self.vocabulary.encode(record) == signed.body
        if not exact or signed.needs != self.vocabulary.needs(record):
            raise RecordError("a merge record says more than its parents")

    def _check_author(self, signed: Signed, identifier: RecordId) -> None:
        known = self._members.get(signed.author)
        if known is None:
            raise UnknownAuthor(signed.author)
        if not known.verify(signed.signature, identifier):
            raise RecordError(f"a record in the name of {known.name!r} is not signed by it")

    def _decoded(self, wire: bytes) -> tuple[Signed, RecordId, Received]:
        signed = unpack(wire)
        return signed, signed.id, self.vocabulary.read(signed.body, signed.needs)

    def _add_member(self, signed: Signed, identifier: RecordId, record: Member) -> VerifiedMember:
        known = self._verifier.member(record.certificate)
        if signed.author != known.node or record.name != known.name:
            raise RecordError(f"a member record in the name of {record.name!r} is not by that node")
        if not known.verify(signed.signature, identifier):
            raise RecordError(f"the member record of {known.name!r} is not signed by it")
        if known.node not in self._members and len(self._members) >= MEMBERS_MAX:
            raise MusterError("fleet", f"this fleet has over {MEMBERS_MAX} members: make a new one")
        self._named.setdefault(known.name, set()).add(known.node)
        return self._members.setdefault(known.node, known)

    def _revoke(self, signed: Signed, identifier: RecordId, record: Revocation) -> None:
        if signed.author != self._verifier.authority:
            raise RecordError("only the fleet's authority can revoke a member")
        if not self._verifier.by_authority(signed.signature, identifier):
            raise RecordError("a revocation is not signed by the fleet's authority")
        if record.node not in self._revoked and len(self._revoked) >= REVOKED_MAX:
            raise MusterError("fleet", f"over {REVOKED_MAX} members were revoked: make a new fleet")
        self._revoked.setdefault(record.node, {})[identifier] = record
        self._stands.update(record.stands)
