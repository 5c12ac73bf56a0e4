"""The files that pages need: scripts, styles, icons, all from this package.

Each is served below an address that changes with its content, so a browser asks once and keeps it.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import Response

from api.auth import CONSOLE

_FOLDER: Final = resources.files("api") / "console" / "static"

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
    "LICENSE": "text/plain; charset=utf-8",
    "NOTICE": "text/plain; charset=utf-8",
}
"""By what follows the last point of a file's name; nothing else is served."""

PATH: Final = f"{CONSOLE}/static/{{version}}/{{name:path}}"

_FOREVER: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """A file as it is served."""

    content: bytes
    compressed: bytes | None
    media_type: str
    version: str


@cache
def names() -> frozenset[str]:
    """All files there are."""
    return frozenset(_names(_FOLDER, ""))


@cache
def file(name: str) -> File:
    """A file by its name; it must be one of ``names``."""
    content = _FOLDER.joinpath(*name.split("/")).read_bytes()
    media_type = _TYPES[name.rpartition(".")[2]]
    smaller = None if media_type == "image/png" else gzip.compress(content, 9, mtime=0)
    return File(content, smaller, media_type, hashlib.sha256(content).hexdigest()[:12])


def address(name: str) -> str:
    """Where a file is served as it is now."""
    return f"{CONSOLE}/static/{file(name).version}/{name}"


WORKER: Final = f"{CONSOLE}/sw.js"
"""Where the service worker is served: pages below that path can be its own."""

_offline: set[str] = set()


def works_offline(needed: Iterable[str]) -> None:
    """Name files that the service worker keeps, so that a page opens without a network."""
    _offline.update(needed)


@cache
def _worker() -> tuple[bytes, bytes]:
    """The service worker, with the addresses of what it keeps; plain and compressed."""
    kept = sorted(address(name) for name in _offline)
    code = _FOLDER.joinpath("sw.js").read_text("utf-8")
    version = hashlib.sha256(json.dumps([kept, code]).encode()).hexdigest()[:12]
    head = f"const VERSION = {json.dumps(version)};\nconst FILES = {json.dumps(kept)};\n"
    content = (head + code).encode()
    return content, gzip.compress(content, 9, mtime=0)


def serve(app: FastAPI) -> None:
    """Add the route of the files; they are public, for they say nothing of anybody."""
    app.router.add_route(PATH, _answer, methods=["GET"], include_in_schema=False)
    app.router.add_route(WORKER, _answer_worker, methods=["GET"], include_in_schema=False)


async def _answer_worker(request: Request) -> Response:
    plain, smaller = _worker()
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(smaller, media_type=_TYPES["js"], headers=headers)
    return Response(plain, media_type=_TYPES["js"], headers=headers)


async def _answer(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in names():
        return Response(status_code=404)
    wanted = file(name)
    # An old page asks for an old version: it gets what there is, but must not keep it.
    current = request.path_params["version"] == wanted.version
    headers = {"Cache-Control": _FOREVER if current else "no-cache", "Vary": "Accept-Encoding"}
    if wanted.compressed and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(wanted.compressed, media_type=wanted.media_type, headers=headers)
    return Response(wanted.content, media_type=wanted.media_type, headers=headers)


def _names(folder: Any, prefix: str) -> list[str]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            found.append(prefix + entry.name)
    return found
