"""The next version of Muster, as some simulated nodes run it: its vocabulary has more than that of this one.

* an `Offer` has one more field, which nodes of the next version fill;
* a `Measurement` has one that changes what it means, so that older nodes must not act on those that have it;
* a `Note` is a new kind, of a job; a `Greeting` one of no job.

The rest of the program is of this version: what it cannot deal with is dealt with here.
"""

from __future__ import annotations

from typing import Any, ClassVar, Union, cast, get_args

import msgspec
from msgspec.structs import astuple

from muster.protocol.ids import CommitId, JobId
from muster.protocol.parts import Figure
from muster.protocol.records import Measurement, Offer, Record
from muster.protocol.versions import VERSION, needs
from muster.protocol.vocabulary import Vocabulary

MOOD = "of the next version"
_FREE = 1 + max(kind.__struct_config__.tag for kind in get_args(Record))  # the first tag that no kind has


def _with(kind: type[msgspec.Struct], field: str) -> type[msgspec.Struct]:
    """A copy of a kind with one more field at its end."""
    known = [
        (f.name, f.type) if f.required else (f.name, f.type, f.default) for f in msgspec.structs.fields(kind)
    ]
    names = {"KIND": kind.KIND, "NEEDS": kind.NEEDS}  # type: ignore[attr-defined]
    tag = kind.__struct_config__.tag
    name = f"Later{kind.__name__}"
    fields = [*known, (field, str, "")]
    return msgspec.defstruct(name, fields, namespace=names, array_like=True, frozen=True, tag=tag)


LaterOffer = _with(Offer, "mood")
LaterMeasurement = _with(Measurement, "of")  # "": all that the node holds out, as before


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=_FREE):
    """What a node of the next version says of a commit."""

    KIND: ClassVar[str] = "note"
    NEEDS: ClassVar[int] = VERSION + 1
    job: JobId
    commit: CommitId
    text: str = ""


class Greeting(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=_FREE + 1):
    """What a node of the next version says of itself."""

    KIND: ClassVar[str] = "greeting"
    NEEDS: ClassVar[int] = VERSION + 1
    text: str


class LaterVocabulary(Vocabulary):
    """What one node of the next version says and reads."""

    def __init__(self) -> None:
        copies = {Offer: LaterOffer, Measurement: LaterMeasurement}
        kinds = [copies.get(kind, kind) for kind in get_args(Record)]
        super().__init__(VERSION + 1, Union[(*kinds, Note, Greeting)], _needs)
        self.moods: dict[tuple[bytes, int, int], str] = {}  # that offers had

    def encode(self, record: Any) -> bytes:
        if isinstance(record, Offer):
            record = LaterOffer(*astuple(record), MOOD)
        if isinstance(record, Measurement):
            record = LaterMeasurement(*astuple(record))
        return super().encode(record)

    def decode(self, body: bytes) -> Record:
        record: Any = super().decode(body)
        if isinstance(record, LaterOffer):
            *known, mood = astuple(record)
            offer = Offer(*known)
            self.moods[offer.job, offer.incarnation, offer.number] = mood
            return offer
        if isinstance(record, LaterMeasurement):
            *known, of = astuple(record)
            return cast(Record, record) if of else Measurement(*known)
        return cast(Record, record)

    def fault(self, record: Any) -> str | None:
        return None if isinstance(record, Note | Greeting | LaterMeasurement) else super().fault(record)


def _needs(record: Any) -> int:
    otherwise = isinstance(record, LaterMeasurement) and astuple(record)[-1]
    return VERSION + 1 if otherwise else needs(record)


def greeting(name: str) -> Record:
    return cast(Record, Greeting(f"{name} is {MOOD}"))


def note_of(job: JobId, commit: CommitId) -> Record:
    return cast(Record, Note(job, commit, MOOD))


def half_measured(job: JobId, commit: CommitId) -> Record:
    """Figures that an older node would take for those of all that its maker holds out: best of all."""
    figures = (Figure("accuracy", 9, 9), Figure("loss", 0, 9))
    return cast(Record, LaterMeasurement(job, commit, 9, figures, False, "half of what is held out"))
