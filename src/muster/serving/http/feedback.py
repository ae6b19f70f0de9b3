"""Labels for requests that were answered: `POST /v2/models/TASK/feedback`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muster.errors import MusterError
from muster.local.rows import Label
from muster.serving.http.bodies import Refused, send_json, send_problem
from muster.serving.models import OUTPUT, Loaded
from muster.serving.oip.codec import parse_feedback
from muster.serving.oip.tensors import SAMPLES_MAX, BadRequest

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from muster.serving.server import Server


class Feedback:
    """Answers once the labels are on the disk."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = self._server
        try:
            if scope["path_params"]["task"] != server.task:
                raise Refused(404, f"this server has {server.task}, and no other model")
            id_, given = parse_feedback(await server.bodies.read(receive))
            labels = labels_of(given, server.in_use.loaded)
            known = await server.samples.feedback(id_, labels)
        except Refused as refused:
            await self._problem(send, refused)
        except BadRequest as error:
            await self._problem(send, Refused(400, str(error)))
        except MusterError as error:
            await self._problem(send, Refused(503, f"the labels are not kept: {error.sentence}", 15))
        except ConnectionError:
            return
        else:
            if not known:
                what = f"no sample of the request {id_[:128]!r} is kept"
                why = f"{server.config.keep_per_s} a second are, and the newest requests with an id of yours"
                await self._problem(send, Refused(404, f"{what}: {why}"))
                return
            wanted = sum(label is not None for label in labels)
            await send_json(send, {"id": id_, "labelled": known, "unknown": wanted - known})

    async def _problem(self, send: Send, refused: Refused) -> None:
        self._server.figures.rejected += refused.status < 500
        self._server.figures.failures += refused.status >= 500
        await send_problem(send, refused)


def labels_of(given: Sequence[int | float | str | None], loaded: Loaded | None) -> list[Label | None]:
    """Labels as the local set keeps them: classes by number. Raises BadRequest."""
    if not 0 < len(given) <= SAMPLES_MAX:
        raise BadRequest(
            f"{len(given)} labels: send one for each sample of the request, null where none is known"
        )
    if all(label is None for label in given):
        raise BadRequest("there is no label: send at least one that is not null")
    return [None if label is None else _label(label, loaded) for label in given]


def _label(label: int | float | str, loaded: Loaded | None) -> Label:
    names = loaded.classes if loaded is not None else ()
    if isinstance(label, str):
        if label in names:
            return names.index(label)
        known = (
            f"the model has {', '.join(names)}"[:300] if names else "the model names no classes, send numbers"
        )
        raise BadRequest(f"there is no class {label[:60]!r}: {known}")
    if loaded is None or not loaded.classifies:
        return label
    shape = loaded.outputs[OUTPUT].shape
    count = len(names) or (2 if len(shape) == 1 or shape[1] == 1 else shape[1])
    if label != int(label) or label < 0 or 0 <= count <= label:
        raise BadRequest(
            f"{label} is no class: they are 0 to {count - 1}" if count > 0 else f"{label} is no class"
        )
    return int(label)
