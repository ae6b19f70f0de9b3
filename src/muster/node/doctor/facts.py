"""What the doctor looks at, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from muster.node.api.snapshot import Snapshot, TaskView


@dataclass(frozen=True)
class Clock:
    """Times are seconds since 1970."""

    now_s: float
    newest_s: float | None  # when something in the home was last written, by the clock of then
    synchronised: bool | None  # by a time server; None: the kernel does not say


@dataclass(frozen=True)
class Port:
    """Where the node is to listen, and whether it could now."""

    endpoint: str
    asked: bool  # by node.toml; else any other port does as well
    fault: str = ""  # "taken", "no such address", or what the system says; "": it is free
    holder: str = ""  # the program that has it, if it is known


@dataclass(frozen=True)
class Home:
    """The node's directory and the disk below it."""

    path: str
    there: bool
    fault: str = ""  # why nothing can be written, if so
    free_bytes: int = 0
    free_files: int = 0
    used_bytes: int = 0
    limit_bytes: int = 0  # policy.disk_limit_mb
    store_format: int | None = None  # None: there is no store yet
    reads_format: int = 0  # this version of Muster


@dataclass(frozen=True)
class Bundle:
    """The node's place in a fleet."""

    path: str
    made_later: bool = False  # there is none yet: the machine's own fleet issues one at the first start
    fault: str = ""  # why it cannot be used
    name: str = ""
    fleet: str = ""
    from_s: float = 0.0  # the certificate is valid from
    until_s: float = 0.0
    mode: int = 0o600
    owner: str = ""
    home_owner: str = ""  # who runs the node


@dataclass(frozen=True)
class Route:
    """The route to a configured neighbour. `why`: the sentence, if nothing answers there."""

    endpoint: str
    why: str = ""


@dataclass(frozen=True)
class Facts:
    """All of it. `daemon`: what the running node says of itself; None: none runs."""

    version: str  # of the command
    name: str
    clock: Clock
    interfaces: tuple[tuple[str, tuple[str, ...]], ...]  # that are up, loopback aside, with their addresses
    ports: tuple[Port, ...]
    routes: tuple[Route, ...]
    discovery: bool
    home: Home
    memory_bytes: int
    memory_free_bytes: int
    bundle: Bundle
    serves: bool  # node.toml has a task to serve
    daemon: Snapshot | None = None
    clocks: tuple[str, ...] = ()  # what it says of neighbours' clocks, if they differ much
    daemon_fault: str = ""  # a daemon is there but does not answer
    packages: dict[str, str | None] = field(default_factory=dict)  # name -> version; None: not installed
    pip: str = "pip"  # of the environment that Muster runs in
    cuda: bool = False  # torch is a build for CUDA
    tasks: tuple[TaskView, ...] | None = None  # None: they were not opened
