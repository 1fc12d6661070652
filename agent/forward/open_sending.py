"""Opens the sending of frames that the settings describe: to one indexer, or to several."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from agent.forward.credentials import Credentials
from agent.forward.current_channel import OpenChannel
from agent.forward.forwarder import Forwarder
from agent.forward.one_indexer import OneIndexer
from agent.forward.sending import Sending
from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.settings import AgentSettings


class OpenedSending(msgspec.Struct):
    """The forwarder, and the way to other channels. `open_channel`: None with one indexer."""

    forwarder: Sending
    credentials: Credentials
    open_channel: OpenChannel | None = None


def open_sending(settings: AgentSettings, spool: Spool, log: Log) -> OpenedSending:
    """Make the forwarder, not started. Raises CredentialsError, TlsError and AddressError."""
    forward = settings.forward
    if not forward.sends:
        from agent.forward.no_sending import NoSending, no_channel  # only without an indexer

        log.info("forwarding_off", effect="nothing is sent: series are served at /metrics/statsd alone")
        return OpenedSending(NoSending(), Credentials(forward, log), no_channel)
    credentials, bindings = Credentials(forward.first, log), spool.bindings
    if bindings is None or not (forward.urls or bindings.urls()):
        one = OneIndexer(
            forward.url,
            log,
            Path(settings.spool.path) if settings.spool.path else None,
            unsent=lambda: spool.unsent_frames,
            failover_s=forward.failover_s,
            journals_lost=forward.url in forward.journals_lost,
        )
        return OpenedSending(Forwarder(forward, spool, log, credentials=credentials, one=one), credentials)
    from agent.forward.forwarders import Forwarders  # only with several: it costs memory

    host = socket.gethostname()
    agent = settings.name or host
    many = Forwarders(forward, spool, bindings, log, credentials, agent=agent, host=host)
    return OpenedSending(many, credentials, many.channel)
