"""Asks a daemon on this machine, over the control socket in its home, and finds that home.

Every request opens a connection of its own (muster/control says what goes over it).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from muster.control.blocking import BlockingConnection, connected_blocking
from muster.errors import MusterError
from muster.node.api.commit_detail import CommitDetail, DiffView, ForecastView, RoundWhyView, WhyView
from muster.node.api.field_view import AskedView, FieldView, MovedView
from muster.node.api.plan_view import PlanView
from muster.node.api.prune_view import PruneView
from muster.node.api.rounds.schema import Rounds
from muster.node.api.snapshot import (
    CommitView,
    JobSnapshot,
    NeighbourView,
    NodeEvent,
    SharedView,
    Snapshot,
    StoredJobView,
    TaskView,
)
from muster.node.config import home_roots

SOCKET = "control.sock"
T = TypeVar("T")
TIMEOUT_S = 30.0
TRAIN_TIMEOUT_S = 600.0  # a trainer starts slowly on a small computer, and a start may have to be fetched
PROBE_TIMEOUT_S = 1.0
HOMES_MAX = 256
STORED_JOBS_PAGE = 200


class LogView(msgspec.Struct, frozen=True):
    """The answer to `log`."""

    job: JobSnapshot
    commits: list[CommitView]
    why: list[WhyView] = []  # when it was asked for
    links: list[NeighbourView] = []  # when they were asked for
    rounds: list[RoundWhyView] = []  # with `why`
    errors: ForecastView | None = None  # with `why`, once a round was closed


class Exported(msgspec.Struct, frozen=True):
    """The answer to `export`."""

    paths: list[str]
    accuracy: float | None
    commit: str
    metric: str = "accuracy"  # the job's first
    figures: dict[str, float] = {}  # by metric
    round: int = 0
    warnings: list[str] = []  # what could not be written beside the parameters


class TaskReference(msgspec.Struct, frozen=True):
    """The answer to `task_source`: what the node opens for the name of a task."""

    reference: str  # an installed task's name, or FILE.py, FILE.py:Class
    options: dict[str, Any]


class Client:
    """The daemon whose home is `home`. Every call raises MusterError: no_node, timeout, or what it says."""

    def __init__(self, home: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.home = home
        self.timeout_s = timeout_s

    def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        return typed(self.ask("snapshot", timeout_s=timeout_s), Snapshot)

    def train(self, task: str, **options: Any) -> str:
        """The id (hex) of the new job; options as in the command `muster train`, None is not given."""
        given = {key: value for key, value in options.items() if value is not None}
        return str(self.ask("train", task=task, timeout_s=TRAIN_TIMEOUT_S, **given)["job"])

    def prune(self, task: str, **options: Any) -> PruneView:
        """A job that tunes a pruned model; options as of `train`, `from` and `width` among them."""
        return typed(self.ask("prune", task=task, timeout_s=TRAIN_TIMEOUT_S, **options), PruneView)

    def plan(self, task: str, **options: Any) -> PlanView:
        """What a job would take; options as of `train`."""
        given = {key: value for key, value in options.items() if value is not None}
        return typed(self.ask("plan", task=task, timeout_s=TRAIN_TIMEOUT_S, **given), PlanView)

    def stop(self, job: str, reason: str) -> Any:
        return self.ask("stop", job=job, reason=reason)

    def export(self, job: str, to: Path, *, best: bool = False) -> Exported:
        """The head's model; `best`: that of the best commit that the node holds."""
        return typed(self.ask("export", job=job, to=str(to), best=best, timeout_s=300.0), Exported)

    def use(self, model: str, task: str, *, force: bool = False) -> MovedView:
        """Put a commit's model, or a file's, into use."""
        given = {"model": model, "task": task, "force": force}
        return typed(self.ask("use", timeout_s=TRAIN_TIMEOUT_S, **given), MovedView)

    def rollback(self, task: str) -> MovedView:
        return typed(self.ask("rollback", task=task), MovedView)

    def adapt(self, task: str) -> AskedView:
        return typed(self.ask("adapt", task=task, timeout_s=TRAIN_TIMEOUT_S), AskedView)

    def field(self) -> list[FieldView]:
        """The models in use, on this node first."""
        return typed(self.ask("field"), list[FieldView])

    def tasks(self, *, opens: bool = False) -> list[TaskView]:
        """What the node can train; with `opens` it opens each, to say what it is."""
        more = {"open": True, "timeout_s": 600.0} if opens else {}
        return typed(self.ask("tasks", **more), list[TaskView])

    def task_source(self, task: str) -> TaskReference:
        return typed(self.ask("task_source", task=task), TaskReference)

    def log(self, job: str, *, why: bool = False, links: bool = False) -> LogView:
        wanted = {name: True for name, given in (("why", why), ("links", links)) if given}
        return typed(self.ask("log", job=job, **wanted), LogView)

    def rounds(self, job: str, after: str = "", number: int = 0) -> Rounds:
        """The rounds after commit `after`, or after round `number` where the node does not know it."""
        return typed(self.ask("rounds", job=job, after=after, number=number), Rounds)

    def stored_jobs(self, limit: int) -> list[StoredJobView]:
        """The last `limit` of the jobs that are not in the node's memory, oldest first."""
        found: list[StoredJobView] = []
        while len(found) < limit:
            asked = {"skip": len(found), "limit": min(STORED_JOBS_PAGE, limit - len(found))}
            page = typed(self.ask("stored_jobs", **asked), list[StoredJobView])
            if not page:
                break
            found = page + found
        return found

    def shared(self) -> list[SharedView]:
        return typed(self.ask("shared"), list[SharedView])

    def show(self, commit: str) -> CommitDetail:
        return typed(self.ask("show", commit=commit), CommitDetail)

    def diff(self, a: str, b: str) -> DiffView:
        return typed(self.ask("diff", a=a, b=b), DiffView)

    def clocks(self) -> list[str]:
        """A sentence for each neighbour whose clock differs from the node's by more than a day."""
        return typed(self.ask("clocks"), list[str])

    def shutdown(self) -> None:
        self.ask("shutdown")

    def ask(self, op: str, *, timeout_s: float | None = None, **args: Any) -> Any:
        """One request, one answer: the value of "ok"."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        with self._connected(limit_s) as connection:
            try:
                return connection.ask(op, **args)
            except TimeoutError as error:
                raise MusterError(
                    "timeout",
                    f"the node in {self.home} did not answer {op!r} within {limit_s:g} s: is it stopped?",
                ) from error
            except (OSError, EOFError) as error:
                raise ended(self.home) from error

    def events(self, since: int, *, pause_s: float) -> Generator[NodeEvent | None, None, None]:
        """Events after number `since` as they come; None whenever `pause_s` passed without one."""
        with self._connected(self.timeout_s) as connection:
            try:
                for item in connection.stream("events", pause_s=pause_s, since=since):
                    yield None if item is None else typed(item, NodeEvent)
            except (OSError, EOFError) as error:
                raise ended(self.home) from error

    @contextlib.contextmanager
    def _connected(self, timeout_s: float) -> Iterator[BlockingConnection]:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(connected_blocking(self.home / SOCKET, timeout_s))
            except PermissionError as error:
                raise MusterError(
                    "no_node", f"the node in {self.home} belongs to another user: run this as that user"
                ) from error
            except OSError as error:
                raise MusterError(
                    "no_node", f"no node runs in {self.home}: start it with 'muster node --home {self.home}'"
                ) from error
            yield connection


def ended(home: Path) -> MusterError:
    """The node closed its socket before it had answered."""
    return MusterError("no_node", f"the node in {home} ended while it was asked: see {home}/node.log")


def typed(value: Any, kind: type[T]) -> T:
    """The value as the struct that it is. Raises MusterError internal when node and command differ."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise MusterError(
            "internal", f"the node's answer cannot be read ({error}): node and command differ in version"
        ) from error


def answers(home: Path) -> bool:
    """Whether a daemon listens in `home`."""
    try:
        with connected_blocking(home / SOCKET, PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def running() -> list[Path]:
    """Homes at the usual places in which a daemon answers, by name; at most 256 are looked at."""
    homes: list[Path] = []
    for root in home_roots():
        with contextlib.suppress(OSError):
            homes += sorted(path.parent for path in root.glob(f"*/{SOCKET}"))
    return [home for home in homes[:HOMES_MAX] if answers(home)]


def choose(node: str | None = None) -> Client:
    """The daemon that the user means: `node` (a home or a name), $MUSTER_HOME, else the only one that runs.

    Raises MusterError("no_node") that says what to do.
    """
    if node is not None:
        direct = Path(node).expanduser()
        by_path = os.sep in node or (direct / SOCKET).exists()
        places = [direct.absolute()] if by_path else [root / node for root in home_roots()]
        if found := next(filter(answers, places), None):
            return Client(found)
        home, known = places[0], ", ".join(path.name for path in running())
        hint = f"; running here: {known}" if known else f": start it with 'muster node --home {home}'"
        raise MusterError("no_node", f"no node runs in {home}{hint}")
    if from_environment := os.environ.get("MUSTER_HOME"):
        return Client(Path(from_environment).expanduser().absolute())
    homes = running()
    if not homes:
        raise MusterError("no_node", "no node runs on this machine: start one with 'muster node'")
    if len(homes) > 1:
        names = ", ".join(home.name for home in homes)
        raise MusterError("no_node", f"several nodes run on this machine ({names}): choose with --node NAME")
    return Client(homes[0])
