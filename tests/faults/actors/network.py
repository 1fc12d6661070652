"""A network namespace for an agent, if the process may make one: its way to the indexer can be cut silently.

    client -> LINE (veth) -> agent in its namespace -> LINE -> 10.214.n.1, an address of ours -> indexer

A cut drops packets: no connection is refused or closed, and requests under way are never answered.
"""

from __future__ import annotations

import os
import subprocess


class Network:
    """`there` is false without the right to make one; then everything is on the loopback interface."""

    def __init__(self) -> None:
        n = os.getpid() % 250
        self._name = f"mh{os.getpid()}"
        self._far = f"10.214.{n}.1/32"
        self._cut = False
        self.there = False
        #: Where the agent listens, and where the indexer's proxy does.
        self.agent, self.indexer = f"10.213.{n}.2", f"10.214.{n}.1"
        self.there = self._make(f"10.213.{n}.1")
        if not self.there:
            self.close()
            self.agent = self.indexer = "127.0.0.1"

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that executes another one in the namespace."""
        return ("ip", "netns", "exec", self._name) if self.there else ()

    def cut(self) -> None:
        """Drop all packets to the indexer."""
        self._cut = True
        _ip("addr", "del", self._far, "dev", self._name, check=True)
        _ip("route", "add", "blackhole", self._far, check=True)

    def heal(self) -> None:
        """Let packets through."""
        if self._cut:
            _ip("route", "del", "blackhole", self._far, check=True)
            _ip("addr", "add", self._far, "dev", self._name, check=True)
            self._cut = False

    def close(self) -> None:
        """Take it away."""
        if self._cut:
            _ip("route", "del", "blackhole", self._far)
        _ip("link", "del", self._name)
        _ip("netns", "del", self._name)

    def _make(self, near: str) -> bool:
        name, inside = self._name, ("-n", self._name)
        return all(
            _ip(*command)
            for command in (
                ("netns", "add", name),
                ("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name),
                ("addr", "add", f"{near}/30", "dev", name),
                ("addr", "add", self._far, "dev", name),
                ("link", "set", name, "up"),
                (*inside, "link", "set", "lo", "up"),
                (*inside, "addr", "add", f"{self.agent}/30", "dev", "eth0"),
                (*inside, "link", "set", "eth0", "up"),
                (*inside, "route", "add", "default", "via", near),
            )
        )


def _ip(*arguments: str, check: bool = False) -> bool:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    assert done.returncode == 0 or not check, f"ip {arguments}: {done.stderr}"
    return done.returncode == 0
