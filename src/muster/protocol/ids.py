"""Identifiers: 32 bytes each."""

from __future__ import annotations

from typing import TypeAlias

NodeId: TypeAlias = bytes  # SHA-256 of the node's raw Ed25519 public key
RecordId: TypeAlias = bytes
JobId: TypeAlias = bytes  # the id of the Job record
CommitId: TypeAlias = bytes  # the id of the Commit or Merge record
BlobId: TypeAlias = bytes  # SHA-256 of the blob's bytes

NOBODY: NodeId = b""  # the author of a record that is a pure function of others (Merge)


def short(identifier: bytes) -> str:
    """The first 4 bytes as hex, for people."""
    return identifier[:4].hex()
