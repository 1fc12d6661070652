"""`/`: a page of links, so that a browser or a client that looks whether somebody answers finds something."""

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
_ITEMS: Final = "\n".join(f'<li><a href="{path[1:]}">{path}</a>: {what}</li>' for path, what in LINKS.items())
_PAGE: Final = f"""\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Meterhouse</title></head>
<body>
<h1>Meterhouse</h1>
<p>This is Prometheus' HTTP API. Use its address as the URL of a Prometheus data source in Grafana.</p>
<ul>
{_ITEMS}
</ul>
</body>
</html>
"""


async def home(_: web.Request) -> web.Response:
    """Answer with the page, for any tenant or none, as it shows no data."""
    return web.Response(text=_PAGE, content_type="text/html")
