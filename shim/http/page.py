"""The web page of the shim: files that the package's build made of shim/http/ui (page_build.py).

Files with a hash in their names never change, so browsers keep them for ever; the page that names them is
asked again each time. Nothing here shows data: the page asks the public API, with the user's credential.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from shim.http.home import links
from shim.http.responses import accepts_gzip

#: Where the build puts the page.
DIST: Final = Path(__file__).parent / "ui" / "dist"
_INDEX: Final = "index.html"
_LINKS: Final = "links"
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
#: Scripts, styles and requests of this server alone; no inline script or style, no frame around the page.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_SAFETY: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, plain and compressed."""

    content_type: str
    plain: bytes
    compressed: bytes
    etag: str


class Page:
    """All files of the page in memory, by name."""

    def __init__(self, files: dict[str, PageFile]) -> None:
        self._files = files

    @staticmethod
    def load(folder: Path = DIST) -> Page | None:
        """Read the built page; None where it was not built."""
        try:
            found = {
                path.name: _read(path)
                for path in sorted(folder.iterdir())
                if path.suffix in _TYPES and path.is_file()
            }
        except OSError:
            return None
        return Page(found) if _INDEX in found else None

    async def index(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        return _answer(request, self._files[_INDEX], "no-cache")

    async def file(self, request: web.Request) -> web.Response:
        """Answer with a file that the page names. Raises HTTPNotFound."""
        name = request.match_info["file"]
        file = self._files.get(name)
        if file is None or name == _INDEX:
            raise web.HTTPNotFound
        return _answer(request, file, _FOR_EVER if "-" in name else "no-cache")


def add_page(router: web.UrlDispatcher, page: Page | None) -> None:
    """Add the paths of the page; without one, `/` is the page of links."""

    async def file(request: web.Request) -> web.Response:
        if request.match_info["file"] == _LINKS:
            return await links(request)
        if page is None:
            raise web.HTTPNotFound
        return await page.file(request)

    router.add_get("/", links if page is None else page.index)
    router.add_get("/ui/{file}", file)


def _read(path: Path) -> PageFile:
    """Read a file and its compressed form. Raises OSError."""
    plain = path.read_bytes()
    beside = path.with_name(f"{path.name}.gz")
    compressed = beside.read_bytes() if beside.is_file() else gzip.compress(plain, mtime=0)
    etag = hashlib.sha256(plain).hexdigest()[:16]
    return PageFile(_TYPES[path.suffix], plain, compressed, etag)


def _answer(request: web.Request, file: PageFile, cache: str) -> web.Response:
    headers = {"Cache-Control": cache, "ETag": f'"{file.etag}"', "Vary": "Accept-Encoding", **_SAFETY}
    if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    zipped = accepts_gzip(request.headers.get("Accept-Encoding", ""))
    if zipped:
        headers["Content-Encoding"] = "gzip"
    body = file.compressed if zipped else file.plain
    return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=headers)
