"""Takes the pictures of docs/ui.md: a product with an hour of a shop's traffic, in Chromium.

python -m tests.support.screenshots [FOLDER]      needs chromium and `npm ci --prefix tests/e2e/node`
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.product import ROOT, Up

FOLDER: Final = ROOT / "docs" / "images"
#: Documents with many pictures load slowly.
MAX_BYTES: Final = 100_000
_NODE: Final = ROOT / "tests" / "e2e" / "node"
_ROUTES: Final = {"/": (30, 0.02), "/search": (9, 0.08), "/product": (18, 0.035), "/checkout": (5, 0.15)}


def lines(end_s: int) -> Iterator[str]:
    """Yield an hour of all four types, the same at each call; with a slow quarter of an hour."""
    rng = random.Random(7)
    for start_s in range(end_s - 3_600, end_s, 10):
        wave = 1 + 0.4 * math.sin((start_s - end_s) / 570) + rng.uniform(-0.05, 0.05)
        slow = 3.0 if 1_200 < end_s - start_s < 2_100 else 1.0
        for route, (rate, typical_s) in _ROUTES.items():
            tags = f"#route:{route}"
            yield f"shop.requests:{round(rate * wave * 10)}|c|{tags},status:200|T{start_s}"
            yield f"shop.requests:{round(rate * wave * slow / 15)}|c|{tags},status:500|T{start_s}"
            times = (rng.lognormvariate(math.log(typical_s * slow), 0.55) for _ in range(int(rate * wave)))
            values = ":".join(f"{seconds:.4f}" for seconds in times)
            yield f"shop.request.duration.seconds:{values}|d|{tags}|T{start_s}"
        yield f"shop.queue.depth:{round(20 * wave * slow)}|g|#queue:mail|T{start_s}"
        yield from (f"shop.users:u{rng.randrange(4_000)}|s|#region:eu|T{start_s}" for _ in range(20))


def main(argv: Sequence[str]) -> int:
    """Take all pictures; return 1 if one is too large."""
    folder = Path(argv[0]) if argv else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    end_s = int(time.time()) // 60 * 60 - 120
    with tempfile.TemporaryDirectory() as data:
        up = Up(Path(data))
        try:
            up.ready().send([*lines(end_s), "shop.cart", "shop.cart:1", "shop.cart:x|c"])
            total = 'sum(increase(shop_requests{status="200",route="/"}[1h]))'
            up.api.wait_until("count(shop_queue_depth)", end_s, 1)
            assert up.api.one(total, end_s)
            asked = ["node", str(_NODE / "screenshots.js"), up.api.url, str(end_s), str(folder)]
            subprocess.run(asked, check=True, timeout=200)
        finally:
            up.clear()
    large = [path.name for path in sorted(folder.glob("ui-*")) if path.stat().st_size > MAX_BYTES]
    print(f"{folder}: done{'; too large: ' if large else ''}{', '.join(large)}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
