"""What a node holds of one job's parameters, and the heads that follow from it.

A commit's parameters are a dense blob whose id (a hash) the commit carries.  A merge's parameters are
computed by each node from the two parents; the node keeps their blob's id in its store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from muster.algorithms.slimming.form import Form
from muster.compression.tensors import Layout
from muster.history.point import Point
from muster.job.context import Context, Model
from muster.job.models.forms import JobForms
from muster.job.models.merging import Merged, merged
from muster.job.models.stored import Arrays, Reader, WrongModel
from muster.job.view import JobView
from muster.protocol.ids import BlobId, CommitId, short
from muster.protocol.validation.limits import ID_BYTES

CHECK_AGAIN_S = 600.0  # a disk may lose bits while the process lives
SOUND_MAX = 64


class ModelStore:
    """Owns the record of which commits' parameters this node holds for one job, and the model's forms.

    Everything here is answered from what is held: nothing is fetched and nothing waits.
    """

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self.forms = JobForms(context.store, view.id)
        self._held: set[CommitId] = set()  # of the points checked so far
        self._checked = 0
        self._foreign: set[CommitId] = set()  # of the first so many points, by that version of the forms
        self._sorted, self._sorted_by = 0, -1
        self._version = 0  # grows when `_held` changes
        self._heads: tuple[tuple[int, int, int], list[Point]] = ((-1, -1, -1), [])
        self._known_heads: tuple[tuple[int, int], list[Point]] = ((-1, -1), [])
        self._watching: set[asyncio.Event] = set()
        self._in_use: Counter[CommitId] = Counter()
        self._sound_s: dict[BlobId, float] = {}  # when blobs were last checked, the newest last

    @property
    def layout(self) -> Layout | None:
        """The whole model's tensors; known from the first session of the trainer on, also after a restart."""
        return self.forms.layout

    def learn_layout(self, layout: Layout) -> None:
        """Keep the whole model's tensors in the node's store."""
        self.forms.learn_layout(layout)

    def shape_of(self, commit: CommitId) -> bytes | None:
        """Which channels a commit's model keeps, as in `Commit`; None where that is not known here.

        In a job that never prunes all commits have one shape, also those that never came here.
        """
        points = self._view.graph.points
        point = points.get(commit)
        if point is None and self._view.job.prune is None:
            point = next(iter(points.values()), None)
        if point is None or point.shape is not None:
            return point.shape if point is not None else None
        kept = self._context.store.state(_merged_key(commit))
        return kept[ID_BYTES:] if kept is not None else None

    def form_of(self, commit: CommitId) -> Form | None:
        """The form of a commit's model; None where it is not known, or cannot be this node's model."""
        shape = self.shape_of(commit)
        return self.forms.form(shape) if shape is not None else None

    def model_of(self, commit: CommitId) -> Model | None:
        """A commit's model for the trainer; None where its parameters' id or its shape is not known."""
        blob, shape = self.blob_of(commit), self.shape_of(commit)
        return Model(blob, shape) if blob is not None and shape is not None else None

    # ---- what is held -------------------------------------------------------------------------------

    def blob_of(self, commit: CommitId) -> BlobId | None:
        """The id of a commit's parameters; of a merge only once it was computed here."""
        point = self._view.graph.points.get(commit)
        if point is None:
            return None
        if not point.is_merge:
            return point.params
        kept = self._context.store.state(_merged_key(commit))
        return kept[:ID_BYTES] if kept is not None else None

    def held(self, commit: CommitId) -> bool:
        """Whether a commit's parameters are on this node, and may be the task's model."""
        blob = self.blob_of(commit)
        return blob is not None and self._context.store.has_blob(blob) and commit not in self._foreigners()

    def _foreigners(self) -> set[CommitId]:
        """Commits whose models cannot be the task's: each point is looked at once for what is known then."""
        points = self._view.graph.points
        if self._sorted_by != self.forms.version:
            self._foreign, self._sorted, self._sorted_by = set(), 0, self.forms.version
        if self._sorted < len(points):
            new = islice(points.values(), self._sorted, None)
            self._foreign.update(point.id for point in new if self.forms.foreign(point, self._view))
            self._sorted = len(points)
        return self._foreign

    def reader(self, commit: CommitId) -> Reader:
        """Reads the parameters of a commit that is held."""
        blob, form = self.blob_of(commit), self.form_of(commit)
        assert blob is not None
        assert form is not None
        return Reader(self._context.store, form.layout, blob)

    def arrays(self, commit: CommitId) -> Arrays:
        """The parameters of a commit that is held, by tensor name. Takes long."""
        return self.reader(commit)()

    def heads(self) -> list[Point]:
        """Points whose parameters this node holds and that no other held one replaces."""
        self.look()
        graph = self._view.graph
        now = (graph.version, self._version, self.forms.version)
        if self._heads[0] != now:
            self._heads = (now, graph.heads((self._held - self._foreigners()).__contains__))
        return self._heads[1]

    def look(self) -> None:
        """Note of new points whether their parameters are held."""
        points = self._view.graph.points
        if self._checked < len(points):
            self.check([point.id for point in islice(points.values(), self._checked, None)])
            self._checked = len(points)

    def known_heads(self) -> list[Point]:
        """Heads of the whole known history, whether anybody in reach has their parameters or not.

        Models that cannot be the task's stop nobody: any member can write such a commit.
        """
        graph = self._view.graph
        now = (graph.version, self.forms.version)
        if self._known_heads[0] != now:
            foreigners = self._foreigners()
            self._known_heads = (now, graph.heads(lambda c: c not in foreigners))
        return self._known_heads[1]

    # ---- whether it is sound ------------------------------------------------------------------------

    async def sound(self, commit: CommitId) -> bool:
        """Whether a commit's parameters are held and still are what its hash says, before they become a base.

        Damaged ones are deleted, so that they are fetched or computed again.
        """
        blob, store = self.blob_of(commit), self._context.store
        if blob is None or not store.has_blob(blob):
            self._not_held(commit)
            return False
        checked_s = self._sound_s.get(blob)
        if checked_s is not None and self._context.now() - checked_s < CHECK_AGAIN_S:
            return True
        try:
            sound = await self._context.offload(store.sound, blob)
        except KeyError:  # deleted meanwhile
            self._not_held(commit)
            return False
        if sound:
            self._sound_s[blob] = self._context.now()
            for old in list(self._sound_s)[:-SOUND_MAX]:
                del self._sound_s[old]
            return True
        self.drop([blob])
        text = f"the model of {short(commit)} was damaged on this disk: it is fetched again"
        self._context.event("error", text, job=self._view.id)
        self._context.changes.notify()
        return False

    def _not_held(self, commit: CommitId) -> None:
        if commit in self._held:
            self._held.discard(commit)
            self._version += 1

    def checked(self, commit: CommitId) -> bool:
        """Whether a commit's parameters were found to be sound in this life of the process."""
        return self.blob_of(commit) in self._sound_s

    # ---- what changes it ----------------------------------------------------------------------------

    def check(self, commits: Iterable[CommitId]) -> None:
        """Note which of `commits` are held by now: a relay or another job may have brought their blobs."""
        for commit in commits:
            self._check(commit)

    def _check(self, commit: CommitId) -> None:
        if commit not in self._held and self.held(commit):
            self._held.add(commit)
            self._version += 1
            for event in self._watching:
                event.set()

    @contextlib.contextmanager
    def watched(self, event: asyncio.Event) -> Iterator[None]:
        """Set `event` whenever parameters come to be held, until the block ends."""
        self._watching.add(event)
        try:
            yield
        finally:
            self._watching.remove(event)

    def merger(self, a: CommitId, b: CommitId) -> Callable[[], Merged]:
        """Computes the merge of two commits that are held. The call takes long; in any thread.

        Raises WrongModel without a layout; the call raises KeyError when a parent was deleted meanwhile.
        """
        one, other = self.form_of(a), self.form_of(b)
        if one is None or other is None:
            raise WrongModel("the model's layout is not known yet")
        share = self._view.graph.share(a, b)
        return partial(merged, self._context.store, one, self.reader(a), other, self.reader(b), share)

    def keep_merge(self, merge_id: CommitId, made: Merged) -> None:
        """Keep what `merger` computed."""
        store = self._context.store
        with store.transaction():
            store.set_state(_merged_key(merge_id), store.put_staged(made.params) + made.shape)
        self._check(merge_id)  # its record may have been known before

    def drop(self, blobs: Iterable[BlobId]) -> None:
        """Delete parameters; several commits may have the same."""
        gone = set(blobs)
        for blob in sorted(gone):
            self._sound_s.pop(blob, None)
            self._context.store.delete_blob(blob)
        self._held = {c for c in self._held if self.blob_of(c) not in gone}
        self._version += 1

    @contextlib.contextmanager
    def using(self, commits: set[CommitId]) -> Iterator[None]:
        """Keep these parameters from being deleted to make room, because others are being made from them."""
        self._in_use.update(commits)
        try:
            yield
        finally:
            self._in_use -= Counter(commits)

    def in_use(self) -> list[CommitId]:
        """Commits whose parameters are needed for what is being rebuilt now."""
        return list(self._in_use)


def _merged_key(commit: CommitId) -> str:
    return "merged/" + commit.hex()
