"""How a node serves a task: the keys of [tasks.NAME.serve]."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from muster.http.address import is_loopback

PORT = 7460  # tried first where none is asked for


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this node serves the task. `muster serve NAME` reads them, too."""

    listen: str = "127.0.0.1"  # elsewhere a token is wanted: HOME/serve/NAME/token
    port: int | None = None  # none: the first that is free from 7460, and the same one after that
    threads: int = 1  # that the model computes with
    body_mb: float = 16.0  # of one request
    keep: bool = True  # keep answered samples, for labels and for noticing
    keep_samples: int = 5000  # unlabelled; older ones go
    keep_mb: float = 50.0  # of unlabelled samples
    keep_per_s: int = 20  # samples kept in one second
    keep_labels: int = 2000  # shared out equally among the classes
    inbox: Path | None = None  # a folder: samples in it, by class, are taken in as labelled ones
    gate: Literal["better", "not_worse"] = "better"  # what a candidate has to be on this node's own labels
    personal: bool = False  # fine-tune the job's model on this node's labels before it is judged
    auto: bool = True  # ask for jobs, adopt and go back by itself; false: people do (docs/field.md)
    settle_s: float = 60.0  # from a need to a job: in it nodes hear to which others the same happened


LIMITS: tuple[tuple[str, float, float], ...] = (
    ("port", 1, 65535),
    ("threads", 1, 256),
    ("body_mb", 0.01, 1000),
    ("keep_samples", 100, 10_000_000),
    ("keep_mb", 1, 1_000_000),
    ("keep_per_s", 0, 10_000),
    ("settle_s", 0, 604_800),
    ("keep_labels", 20, 1_000_000),
)


def wrong_key(config: ServeConfig) -> tuple[str, str] | None:
    """The first key whose value is outside its limits, and what is wrong with it; None: all are fine."""
    for key, low, high in LIMITS:
        value = getattr(config, key)
        if value is not None and not low <= value <= high:
            return key, f"{value:g} is not within {low:g} to {high:g}"
    if not config.listen or any(c in config.listen for c in " /[]"):
        return "listen", f"{config.listen[:60]!r} is no host: write an address such as 0.0.0.0"
    return None


def wants_token(config: ServeConfig) -> bool:
    """Whether others than this machine's programs can connect."""
    return not is_loopback(config.listen)


def encode_settings(config: ServeConfig) -> str:
    """For the command line of a server."""
    return msgspec.json.encode(config, enc_hook=str).decode()


def decode_settings(text: str) -> ServeConfig:
    """The same again."""
    return msgspec.json.decode(text, type=ServeConfig, dec_hook=lambda kind, value: kind(value))


def settings_hash(config: ServeConfig) -> str:
    """Differs where a server that runs has other settings than these."""
    return hashlib.sha256(encode_settings(config).encode()).hexdigest()[:16]
