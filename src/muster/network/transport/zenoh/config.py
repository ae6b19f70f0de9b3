"""Settings of the network engine: endpoints, timings by link speed, and Zenoh's configuration.

Every value here was measured on emulated links; the comments say what each prevents.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import zenoh

from muster.errors import MusterError
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.watchdog import Timings
from muster.network.trust.identity import Identity

MESSAGE_BYTES_MAX = 128 * 1024  # the engine drops anything larger before it costs memory
SESSIONS_MAX = 256  # links at once
REVOKED_KEY = "revoked"  # with a session's tag: where it hears that its certificate was revoked


@dataclass(frozen=True)
class LinkProfile:
    """Timings of a link. A dead link is noticed after `lease_s`; keep-alives go `keep_alive` times a lease.

    Idle cost in each direction on the wire, measured: lease 15 s / 3: 1.5 kB/min; 0.2 kB for each ping.
    With 12.5 s that is 1.8.
    """

    name: str
    lease_s: float
    keep_alive: int
    open_timeout_s: float  # for the whole handshake, which takes 15 s at 9.6 kbit/s
    answer_s: float  # for a neighbour to answer one question, when there is a doubt
    watch: Timings  # of the watchdog


_LAN_WATCH = Timings(ping_s=60, again_s=10, silent_s=30, renew_s=15)
_NARROW_WATCH = Timings(ping_s=300, again_s=30, silent_s=90, renew_s=90)
LAN = LinkProfile("lan", lease_s=12.5, keep_alive=3, open_timeout_s=10, answer_s=3, watch=_LAN_WATCH)
NARROW = LinkProfile("narrow", lease_s=30, keep_alive=3, open_timeout_s=30, answer_s=15, watch=_NARROW_WATCH)
NARROW_BITS_S = 64_000
PROFILES = {profile.name: profile for profile in (LAN, NARROW)}


def profile_for(rate_bits_s: float | None) -> LinkProfile:
    """The profile for a node whose slowest link has this rate; unknown is taken for a LAN."""
    return NARROW if rate_bits_s is not None and rate_bits_s < NARROW_BITS_S else LAN


def listen_locator(point: Endpoint) -> str:
    """An endpoint to listen on, as the engine wants it: with an interface's number, not its name."""
    host, _, interface = point.host.partition("%")
    if interface and not interface.isdigit():
        with contextlib.suppress(OSError):  # it is not there: the engine will say so
            interface = str(socket.if_nametoindex(interface))
    return f"quic/{Endpoint(f'{host}%{interface}' if interface else host, point.port)}"


def dial_locator(point: Endpoint) -> str:
    """An endpoint to dial, as the engine wants it.

    Without brackets: with them the engine takes "[fd00::1]" for the server's name, which is none, and never
    dials (zenoh 1.10.2, `get_quic_host`). Its own parser splits at the last colon.
    """
    return f"quic/{point.host}:{point.port}"


def endpoint_of(locator: str) -> Endpoint:
    """The endpoint in a locator of the engine's, in either of the two forms above."""
    host, _, port = locator.removeprefix("quic/").partition("?")[0].partition("#")[0].rpartition(":")
    return Endpoint(host.strip("[]").removeprefix("::ffff:"), int(port))


def free_endpoint(host: str | None = None, port: int = 0) -> Endpoint:
    """An endpoint that could be bound just now: at `port`, or at any; without a host, on all addresses.

    Whoever binds first has it: the engine may find it taken all the same."""
    if host is None:
        host = usual_host()
    bound = _can_bind(host, port) or _can_bind(host, 0)
    if bound:
        return Endpoint(host, bound)
    raise MusterError(
        "port_in_use", f"there is no free UDP port on {host}: listen on an address of this machine"
    )


def usual_host() -> str:
    """All addresses of this machine, IPv6 included where the kernel has it."""
    return "::" if _can_bind("::", 0) else "0.0.0.0"


def _can_bind(host: str, port: int) -> int:
    """The UDP port that could be bound just now; 0 when it could not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError:
        return 0


def session_config(
    identity: Identity,
    listen: list[Endpoint],
    connect: list[Endpoint],
    *,
    session_id: str,
    scouting: Mapping[str, Any],
    profile: LinkProfile,
    barred: Iterable[str] = (),
) -> zenoh.Config:
    """Zenoh's configuration for one session.

    `session_id`: hex, fresh for each session. `scouting`: settings of `dialling.Dialler`.
    `barred`: common names of certificates with which a link may be opened, and nothing passes over it.
    """
    settings: dict[str, Any] = {
        "mode": "peer",  # plain peers forward nothing: every hop beyond the first is Muster's own
        "id": session_id,  # a fixed one would have to wait for the old lease after a crash
        "listen/endpoints": [listen_locator(point) for point in listen],
        "connect/endpoints": [dial_locator(point) for point in connect],
        "connect/timeout_ms": -1,  # try for ever, in the background
        "connect/exit_on_failure": False,
        "connect/retry": {"period_init_ms": 500, "period_max_ms": 2000, "period_increase_factor": 1.5},
        "scouting/gossip/enabled": False,  # would make links that nobody configured
        **scouting,
        "scouting/delay": 0,  # open at once; who is found later connects later
        "open/return_conditions": {"connect_scouted": False, "declares": False},
        "transport/shared_memory/enabled": False,
        "transport/unicast/open_timeout": round(profile.open_timeout_s * 1000),
        "transport/unicast/accept_timeout": round(profile.open_timeout_s * 1000),
        "transport/unicast/max_sessions": SESSIONS_MAX,
        "transport/link/tx/lease": round(profile.lease_s * 1000),
        "transport/link/tx/keep_alive": profile.keep_alive,
        "transport/link/tx/batch_size": 2048,  # the grain at which control passes bulk
        "transport/link/tx/queue/size": dict.fromkeys(_QUEUES, 16),
        "transport/link/tx/queue/congestion_control/block/wait_before_close": 5_000_000,  # longer: wedges
        "transport/link/rx/max_message_size": MESSAGE_BYTES_MAX,
        "transport/link/protocols": ["quic"],
        # Mutual TLS by the fleet's own authority.  Names are not compared: a node does not know its future
        # addresses when its certificate is made, and the name would add nothing, since no public authority
        # is trusted here.  Only members hold a certificate of this authority, and who a member is comes
        # from the certificate itself (the link's common name) and from record signatures.
        "transport/link/tls/enable_mtls": True,
        "transport/link/tls/verify_name_on_connect": False,
        "transport/link/tls/close_link_on_expiration": True,
        "transport/link/tls/root_ca_certificate_base64": _base64(identity.ca_pem()),
    }
    for side in ("listen", "connect"):  # inline, so that the key is in no second file
        settings[f"transport/link/tls/{side}_private_key_base64"] = _base64(identity.key_pem())
        settings[f"transport/link/tls/{side}_certificate_base64"] = _base64(identity.certificate_pem())
    names = sorted(barred)
    if names:
        settings["access_control"] = _bar(names)
    config = zenoh.Config()
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return config


_QUEUES = (
    "control",
    "real_time",
    "interactive_high",
    "interactive_low",
    "data_high",
    "data",
    "data_low",
    "background",
)


def _bar(common_names: list[str]) -> dict[str, Any]:
    """Nothing passes, in either direction, over a link whose far end showed one of these certificates.

    Its engine may subscribe to what is sent to others, or ask in another's name: the engine here goes by the
    certificate of the link alone (measured: without this a member overhears all that goes to its neighbours).
    Only what tells it so passes (`REVOKED_KEY`).
    """
    return {
        "enabled": True,
        "default_permission": "allow",
        "rules": [
            {
                "id": "revoked",
                "permission": "deny",
                "flows": ["ingress", "egress"],
                "messages": _MESSAGES,
                "key_exprs": _BARRED_KEYS,
            }
        ],
        "subjects": [{"id": "revoked", "cert_common_names": common_names}],
        "policies": [{"rules": ["revoked"], "subjects": ["revoked"]}],
    }


_BARRED_KEYS = ["*", "m/**", "@/**"]  # sessions, tokens, the engine's own
_MESSAGES = [
    "put",
    "delete",
    "declare_subscriber",
    "query",
    "declare_queryable",
    "reply",
    "liveliness_token",
    "declare_liveliness_subscriber",
    "liveliness_query",
]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
