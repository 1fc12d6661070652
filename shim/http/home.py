"""A page of links: `/ui/links`, and `/` where the web page was not built (shim/http/page.py)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

#: Every path that answers a GET without parameters.
LINKS: Final = {
    "/-/healthy": "health",
    "/-/ready": "readiness",
    "/metrics": "metrics of this process",
    "/api/v1/label/__name__/values": "metric names",
    "/api/v1/labels": "label names",
    "/api/v1/metadata": "types and units",
    "/api/v1/status/buildinfo": "build information",
    "/api/v1/status/runtimeinfo": "runtime information",
    "/api/v1/status/tsdb": "cardinality",
}
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Meterhouse</title></head>
<body>
<h1>Meterhouse</h1>
<p>This is Prometheus' HTTP API. Use its address as the URL of a Prometheus data source in Grafana.</p>
<ul>
{items}
</ul>
</body>
</html>
"""


async def links(request: web.Request) -> web.Response:
    """Answer with the page, for any tenant or none, as it shows no data."""
    up = "../" * (request.path.count("/") - 1)  # relative, so that a proxy may add a prefix
    items = "\n".join(f'<li><a href="{up}{path[1:]}">{path}</a>: {what}</li>' for path, what in LINKS.items())
    return web.Response(text=_PAGE.format(items=items), content_type="text/html")
