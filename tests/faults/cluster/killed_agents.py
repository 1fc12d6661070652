"""Agent processes with a spool on disk and checkpoints that get lines over TCP and are killed."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.product import get
from tests.faults.actors.entrance import web_address
from tests.faults.actors.processes import Actor
from tests.faults.cluster.line_truth import LineTruth

KINDS: Final = ("c", "g", "d", "s")
_CHECKPOINT_MS: Final = 1_000
#: Seconds until lines are given up as unpromised before a kill, and looks in a row without any.
_PROMISED_S: Final = 10.0
_STEADY: Final = 3
#: ... before an operator's restart: agents are restarted one after another.
_BRIEF_S: Final = 1.5
#: How often an operator tells an agent at its start that an indexer is gone: one that is away, or by mistake.
_GONE: Final = 0.6
_MISTAKEN: Final = 0.1


class KilledAgent:
    """One agent."""

    def __init__(self, folder: Path, number: int, urls: Sequence[str], truth: LineTruth) -> None:
        self.name = f"real-{number}"
        self._truth = truth
        self._urls = urls
        self._ops, ops = web_address()
        _, tcp = web_address()
        host, _, port = tcp.rpartition(":")
        self._tcp = host, int(port)
        self._sent = 0  # lines of all types to the present run
        self._member = 0
        self._whole = True  # no connection broke, so the number of lines is known
        self.actor = Actor(folder, ["agent"], lambda: get(f"{self._ops}/healthz")[0] == 200, {
            "METERHOUSE_AGENT__TCP": tcp,
            "METERHOUSE_AGENT__UDP": "",
            "METERHOUSE_AGENT__OPS": ops,
            "METERHOUSE_AGENT__NAME": self.name,
            "METERHOUSE_AGENT__FORWARD__URLS": json.dumps(list(urls)),
            "METERHOUSE_AGENT__SPOOL__PATH": str(folder / f"spool-{number}"),
            "METERHOUSE_AGENT__SPOOL__CHECKPOINT_MS": str(_CHECKPOINT_MS),
        })  # fmt: skip

    def send(self, lines: int) -> None:
        """Send lines of each type, if the agent listens."""
        try:
            sock = socket.create_connection(self._tcp, 60)
        except OSError:
            return
        label = self._truth.label(self.name)
        self._truth.send(self.name, lines)
        self._sent += lines * len(KINDS)
        text = "".join(self._lines(label, lines)).encode()
        try:
            with sock:
                sock.settimeout(120)
                sock.sendall(text)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1_024):
                    pass
        except OSError:
            self._whole = False

    def _lines(self, label: str, lines: int) -> list[str]:
        first, self._member = self._member, self._member + lines
        values = [{"c": "1", "g": f"{i}", "d": "1", "s": f"m{i}"} for i in range(first, self._member)]
        tags = f"#agent:{self.name},gen:{label}"
        return [f"real_{kind}:{of[kind]}|{kind}|{tags}\n" for of in values for kind in KINDS]

    def kill(self, rnd: random.Random) -> None:
        """Kill it: now, once its lines are promised, or when it got more after that."""
        if rnd.random() < 0.7:
            self.promise(_PROMISED_S)
            if rnd.random() < 0.5:
                self.send(rnd.randrange(1, 20))
        self.actor.kill()
        self._truth.kill(self.name)

    def start(self, rnd: random.Random, away: Sequence[str]) -> None:
        """Start it; sometimes an operator says that an indexer is gone, though it will return.

        `away`: the URLs of indexers that do not run.
        """
        self._sent, self._whole = 0, True
        told = rnd.random() < (_GONE if away else _MISTAKEN)
        gone = [rnd.choice(away or self._urls)] if told else []
        self.actor.environ["METERHOUSE_AGENT__FORWARD__GONE"] = json.dumps(gone)
        self.actor.launch()

    def restart_without(self, url: str) -> None:
        """Kill it, if it may be once its lines are safe, and start it with an indexer that is gone."""
        self.promise(_BRIEF_S)
        self.actor.kill()
        self._truth.kill(self.name)
        self._sent, self._whole = 0, True
        self.actor.environ["METERHOUSE_AGENT__FORWARD__GONE"] = json.dumps([url])
        self.actor.launch()

    def start_healed(self) -> None:
        """Start it with all indexers, if it does not run, and wait until it is ready."""
        self.actor.environ["METERHOUSE_AGENT__FORWARD__GONE"] = "[]"
        if self.actor.ended():
            self._sent, self._whole = 0, True
        self.actor.start()

    def promise(self, deadline_s: float, *, acknowledged: bool = False) -> bool:
        """Wait until all lines are in frames that are acknowledged or, without that, spooled."""
        end, steady = time.monotonic() + deadline_s, 0
        while steady < _STEADY:
            if time.monotonic() > end or self.actor.ended():
                return False
            steady = steady + 1 if self._is_promised(acknowledged=acknowledged) else 0
            time.sleep(0.02)
        if self._whole:
            self._truth.promise(self.name)
        return True

    def _is_promised(self, *, acknowledged: bool) -> bool:
        values = self.metrics()
        if not values or (self._whole and values.get("lines_total", 0) != self._sent):
            return False
        held = 0.0 if acknowledged else values.get("spool_frames", 0.0)
        return values["entries"] == 0 and values["unsent_frames"] <= held

    def held(self, url: str) -> int:
        """Return the frames that wait for one indexer alone; 0 when the agent is away."""
        name = f'meterhouse_agent_target_held_frames{{target="{url}"}} '
        lines = get(f"{self._ops}/metrics", 5)[1].decode().splitlines()
        return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))

    def metrics(self) -> dict[str, float]:
        """Return sums of its metrics by name, without `meterhouse_agent_`; empty when it is away."""
        out: dict[str, float] = {}
        for line in get(f"{self._ops}/metrics", 5)[1].decode().splitlines():
            if line.startswith("meterhouse_agent_"):
                name = line.removeprefix("meterhouse_agent_").partition(" ")[0].partition("{")[0]
                out[name] = out.get(name, 0.0) + float(line.rpartition(" ")[2])
        return out
