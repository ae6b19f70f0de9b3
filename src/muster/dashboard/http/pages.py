"""The built page's files: read once, compressed once, and nothing else of this machine."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from importlib import resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from muster.dashboard.http.answers import problem

FOLDER = "page"
GZIP_WORTH_BYTES = 1024
NOT_BUILT = (
    "The page is not built in this copy of Muster (the API works: /api/state).\n"
    "In the source folder run: make page\n"
)


class Pages:
    """Files below `folder`, by their path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[bytes, bytes | None, str, str]] = {}
        if (folder / "index.html").is_file():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not any(
                    part.startswith(".") for part in path.relative_to(folder).parts
                ):
                    self._files[path.relative_to(folder).as_posix()] = _read(path)

    @staticmethod
    def packaged() -> Pages:
        return Pages(Path(str(resources.files("muster.dashboard"))) / FOLDER)

    def wire_bytes(self) -> int:
        """What a browser loads in all, gzipped where that is smaller."""
        return sum(len(packed if packed is not None else data) for data, packed, _, _ in self._files.values())

    async def get(self, request: Request) -> Response:
        if request.path_params["path"].startswith("api/"):
            return problem(404, "usage", "there is nothing at this address: see /api/openapi.json")
        if not self._files:
            return PlainTextResponse(NOT_BUILT, 503)
        path = request.path_params["path"] or "index.html"
        found = self._files.get(path)
        if found is None:
            return PlainTextResponse("There is no such page; the page is at /\n", 404)
        data, packed, kind, tag = found
        hashed = path.startswith("assets/")  # vite puts a digest into these names
        headers = {
            "cache-control": "public, max-age=31536000, immutable" if hashed else "no-cache",
            "etag": tag,
            "vary": "accept-encoding",
        }
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, headers={**headers, "content-encoding": "gzip"}, media_type=kind)
        return Response(data, headers=headers, media_type=kind)


def _read(path: Path) -> tuple[bytes, bytes | None, str, str]:
    data = path.read_bytes()
    kind = {".woff2": "font/woff2", ".js": "text/javascript"}.get(
        path.suffix, mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    )
    packed = gzip.compress(data, 9, mtime=0) if len(data) > GZIP_WORTH_BYTES else None
    if packed is not None and len(packed) > 0.95 * len(data):
        packed = None  # fonts are compressed already
    return data, packed, kind, f'"{hashlib.sha256(data).hexdigest()[:20]}"'
