"""The headers that keep frames to one of several indexers that one URL leads to. Pure.

An indexer that keeps a journal, and is not the only one that writes, tells its name with every answer to
frames. A request for another one, or for ANY, is answered 421, and nothing of it is taken
(docs/wire-format.md). Older indexers know neither header.
"""

from __future__ import annotations

from typing import Final

#: In answers: the name of the indexer, the same over restarts.
INDEXER_HEADER: Final = "Meterhouse-Indexer"
#: In requests: the indexer that the frames are for.
FOR_HEADER: Final = "Meterhouse-For"
#: The name of none: the agent asks for one.
ANY: Final = "?"
MISDIRECTED: Final = 421
