"""The settings of the agent: section `[agent]` of the file, `METERHOUSE_AGENT__*` in the environment.

Owns names, defaults and ranges; agent/config/load.py reads them. docs/settings.md lists them (a test
compares).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from agent.protocol.line import Limits
from agent.wire.frame import BACKFILL_PREFIX, OF_MESSAGES, OF_UP

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Id = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]
Org = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFE)]  # the one after it is of meterhouse doctor


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS of a listener: `[indexer.tls]`, `[shim.tls]`, `[agent.tcp_tls]`, `[agent.ops_tls]`."""

    #: PEM file of the certificate with its chain, read again when it changes; empty: no TLS.
    cert: str = ""
    #: PEM file of the certificate's key, without a passphrase.
    key: str = ""
    #: PEM file of the CAs that verify clients' certificates; empty: clients need no certificate.
    client_ca: str = ""
    #: Whether a client without a certificate is refused.
    require_client_cert: bool = False

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("TLS needs cert and key: expected both or neither")
        if self.client_ca and not self.cert:
            raise ValueError("client_ca without cert and key: expected all three for client certificates")
        if self.require_client_cert and not self.client_ca:
            raise ValueError("require_client_cert without client_ca: expected a file of CAs")


class ClientTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.forward.tls]`: https to the indexer."""

    #: PEM file of the CAs that verify the indexer's certificate, or that certificate itself; empty: the
    #: system's CAs. The files of this section are read again when they change.
    ca: str = ""
    #: PEM file of the agent's own certificate, which identifies it to the indexer; empty: none is sent.
    cert: str = ""
    #: PEM file of its key, without a passphrase.
    key: str = ""
    #: Whether the certificate must be issued for the host in `agent.forward.url`.
    check_name: bool = True

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("a client certificate needs cert and key: expected both or neither")
        if not self.check_name and not self.ca:
            raise ValueError("check_name = false without ca: expected a file with the certificate to trust")


class ReceiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.receive]`: sockets."""

    #: Receive buffer requested for UDP and Unix sockets (SO_RCVBUF); the kernel may grant less, see the log.
    buffer_bytes: Annotated[int, msgspec.Meta(ge=4096, le=1 << 30)] = 8 << 20
    #: Longest pause between two reads of a busy UDP socket, so that packets queue up; shorter if they arrive
    #: fast or the receive buffer is small; 0: none.
    nap_ms: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
    #: Connections open at once on each stream listener, fewer if the process's limit of open files is lower.
    #: A further one replaces the longest silent one, if silent for 10 s; else it is closed.
    max_connections: Positive = 512
    #: Seconds after which a silent stream connection is closed.
    idle_s: Annotated[float, msgspec.Meta(ge=1, le=604_800)] = 3_600.0
    #: Sockets on the UDP port, with one receiver thread each; several share the port (SO_REUSEPORT).
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    #: Networks that may send UDP packets and open TCP connections (`["10.0.0.0/8", "fd00::/8"]`); none: all.
    allowed_sources: list[str] = []

    def __post_init__(self) -> None:
        if self.allowed_sources:
            from agent.config.networks import Networks  # only with a list: it costs memory

            try:
                Networks(self.allowed_sources)
            except ValueError as e:
                raise ValueError(f"allowed_sources: {e}") from None


class RelaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.relay]`: copies for other servers, at `host:port` or a Unix datagram socket's path."""

    #: Destination of every datagram, unchanged (and of lines of streams, packed); empty: none.
    address: str = ""
    #: Destination of events and service checks, one datagram each; empty: they are counted and dropped.
    events: str = ""


class AggregateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.aggregate]`: buckets and their memory."""

    #: How far back `|T` may put a line; older times are moved to this edge and counted.
    lateness_s: NotNegative = 3_600
    #: How far ahead `|T` may put a line; later times are moved to this edge and counted.
    future_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 60
    #: Cells, set members and histogram entries held at once; reaching it flushes early (nothing is lost).
    max_entries: Annotated[int, msgspec.Meta(ge=16)] = 2_000_000
    #: Series remembered between buckets (parsed heads of lines); a head counts once more for each 512 bytes.
    max_series: Annotated[int, msgspec.Meta(ge=1)] = 500_000
    #: Series of one metric; lines of further ones go to its series with `__overflow__="true"`, so that totals
    #: stay right; 0: no limit.
    max_metric_series: NotNegative = 200_000
    #: Series of all metrics; lines of further ones do the same, those of a new metric under the name
    #: `__overflow__`; 0: no limit.
    max_total_series: NotNegative = 1_000_000
    #: How long a series is remembered in full after its last line; the last value of a gauge stays longer.
    gauge_memory_s: Positive = 3_600
    #: How long the last value of a gauge is remembered for deltas; a delta after that starts from 0.
    last_value_s: Positive = 2_592_000
    #: Last values of gauges kept beyond the series remembered in full, up to twice as many; 0: none, and none
    #: survives a restart.
    max_last_values: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 500_000


class FlushSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.flush]`: when buckets leave and how large frames get."""

    #: Wait after the end of a bucket before it is flushed.
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 500
    #: Maximum time after its arrival until a line for an already flushed bucket is sent.
    late_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 2_000
    #: Rows of one frame.
    max_frame_rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5_000
    #: Approximate bytes of one frame before compression.
    max_frame_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=32 << 20)] = 4 << 20


def is_one_line(text: str) -> bool:
    """Return whether a text has no control character, so that a header may contain it."""
    return not any(c < " " or c == "\x7f" for c in text)


class ForwardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.forward]`: sending to the indexer."""

    #: Base URL of the indexer (http or https); empty, with `agent.exposition` alone: nothing is sent.
    url: str = "http://127.0.0.1:8126"
    #: Base URLs of several indexers with a journal each, instead of `url`. An agent sends to one of them, by
    #: its name and host, and a frame again only to the same one (docs/reliability.md).
    urls: Annotated[list[str], msgspec.Meta(max_length=64)] = []
    #: Indexers that will not return: frames that were sent to them go to the next one.
    gone: list[str] = []
    #: Those of them whose journal is lost, too: rows that they stored in part may count twice.
    journals_lost: list[str] = []
    #: How long all tries at an indexer must fail until new frames go to the next one of `urls`, or at `url`.
    failover_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0
    #: How long it must answer again until new frames go back to it.
    return_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 30.0
    #: Sent as `Authorization: Bearer ...` when not empty.
    token: str = ""
    #: A file that contains only that token, read again when it changes.
    token_file: str = ""
    #: Frames in flight at once, each on its own connection.
    connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    #: Timeout of an answer.
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    #: Maximum wait before the first retry, and twice the minimum one; before later ones it is half of the
    #: outage so far.
    backoff_s: Annotated[float, msgspec.Meta(gt=0)] = 0.25
    #: Longest wait between two retries; also limits Retry-After.
    max_backoff_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    #: Memory for unsent frames, compressed; beyond it the oldest are moved to `agent.spool.path`, or dropped
    #: and counted.
    max_unsent_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 256 << 20
    #: How long sending may go on after SIGTERM; with `agent.spool`, only until a try fails.
    drain_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    tls: ClientTls = ClientTls()

    def __post_init__(self) -> None:
        if self.token and self.token_file:
            raise ValueError("token and token_file are both set: expected one of them")
        if not is_one_line(self.token):
            raise ValueError("token has a line break or a control character: expected one line of text")
        if len({url.partition(":")[0].lower() for url in self.urls}) > 1:
            raise ValueError("urls has http and https: expected one of them")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("urls has a URL twice: expected different ones")
        if set(self.journals_lost) - set(self.gone):
            raise ValueError("journals_lost has a URL that gone lacks: expected those of gone")
        if self.urls and not set(self.urls) - set(self.gone):
            raise ValueError("gone has all of urls: expected at least one that is left")

    def to(self, url: str) -> ForwardSettings:
        """Return the settings of one indexer."""
        return msgspec.structs.replace(self, url=url, urls=[], gone=[], journals_lost=[])

    @property
    def sends(self) -> bool:
        """Whether there is an indexer to send to."""
        return bool(self.url or self.urls)

    @property
    def targets(self) -> list[str]:
        """All indexers: `urls`, or `url` alone."""
        return self.urls or [self.url]

    @property
    def first(self) -> ForwardSettings:
        """The settings of the first indexer that is not gone."""
        return self.to(next(url for url in self.targets if url not in self.gone or not self.urls))


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent.spool]`: unsent frames on disk (docs/reliability.md)."""

    #: Directory of one agent's unsent frames. Empty: memory only; with `up`, a directory next to its store.
    path: str = ""
    #: Bytes of its files; beyond it the oldest frames are dropped and counted.
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    #: Age beyond which an unsent frame is dropped and counted.
    max_age_s: Annotated[float, msgspec.Meta(ge=60, le=2_592_000)] = 86_400.0
    #: Wait for the disk after each write, so that frames also survive a loss of power.
    fsync: bool = False
    #: Interval of flushing open buckets to disk, so that a killed agent loses lines of that time; 0: off.
    #: Each flush adds a row per series with new lines (docs/reliability.md).
    checkpoint_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0


LogLevel = Literal["auto", "debug", "info", "warning", "error"]
#: A logger of ours, or one inside it.
LogPart = Annotated[str, msgspec.Meta(pattern=r"^(agent|indexer|shim)(\.[a-z0-9_]+)*$", max_length=100)]


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[log]`: the log lines of each service, on stderr."""

    #: Form of a line: `text`, or `json` for one object each.
    format: Literal["text", "json"] = "text"
    #: Lines below this level are left out: `debug`, `info`, `warning` or `error`; `auto` is `info` for the
    #: agent and `warning` for the others. A reload (SIGHUP) takes a changed level without a restart.
    level: LogLevel = "auto"
    #: Levels of single parts, by the names in the lines: `{"indexer.write" = "debug"}`; the longest name
    #: counts. A reload takes them, too.
    levels: dict[LogPart, LogLevel] = {}


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[agent]`. Addresses are `host:port` (`[::1]:8125` for IPv6; port 0: any free); empty: off."""

    #: UDP address for StatsD lines.
    udp: str = "127.0.0.1:8125"
    #: TCP address for StatsD lines, one per line.
    tcp: str = "127.0.0.1:8125"
    #: Path of a Unix datagram socket for StatsD lines; an old socket there is replaced.
    unix: str = ""
    #: Path of a Unix stream socket for lines, or for Datadog's payloads with a length prefix.
    unix_stream: str = ""
    #: The core that parses and aggregates: `native` (compiled), `python`, or `auto`: native if it was built.
    core: Literal["auto", "native", "python"] = "auto"
    #: Path of a mapping file, statsd_exporter's or a `datadog.yaml` (docs/mapping.md); empty: names as sent.
    mapping: str = ""
    #: Directory for last values of gauges, to survive a restart. Empty: none; with `up`, next to its store.
    state_dir: str = ""
    #: Seconds between two writes there, or a hundred times the duration of a write, if longer.
    state_interval_s: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 10.0
    #: Seconds that this machine's clock may differ from the indexer's; beyond that lines are stamped with the
    #: indexer's time (docs/reliability.md); 0: never.
    max_skew_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    #: HTTP address of /metrics, /metrics/statsd, /healthz, /readyz and /debug/top.
    ops: str = "127.0.0.1:8127"
    #: Connections open at once there, each with a thread; a further one replaces the oldest.
    ops_connections: Annotated[int, msgspec.Meta(ge=8, le=4_096)] = 512
    #: Serve all series at /metrics/statsd of `agent.ops` for a Prometheus (docs/exposition.md). With it
    #: `agent.forward.url` may be empty: nothing is sent then.
    exposition: bool = False
    #: How names there that are no legacy Prometheus names are shown: "underscore" (http_requests) or "utf8".
    exposition_names: Literal["underscore", "utf8"] = "underscore"
    #: How long a series is shown there after its last line, in seconds; 0: for ever. A mapping's `ttl` wins.
    exposition_ttl_s: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 3_600.0
    #: Series shown there; lines of further ones go to the series `__overflow__="true"` of their metric. Names
    #: and labels of all have at most 256 characters for each of these.
    exposition_max_series: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200_000
    tcp_tls: Tls = Tls()
    ops_tls: Tls = Tls()
    #: This agent's name in the identity of its frames; empty: the host name.
    name: str = ""
    #: Organisation that the metrics belong to.
    org_id: Org = 1
    #: Project that the metrics belong to.
    project_id: Id = 1
    #: Days to keep the metrics; 0: the indexer's setting.
    retention_days: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    #: Tags added to every series (`{pod = "web-1", region = "eu"}`); a line's own tag of that key wins.
    tags: dict[str, str] = {}
    lines: Limits = Limits()
    receive: ReceiveSettings = ReceiveSettings()
    relay: RelaySettings = RelaySettings()
    aggregate: AggregateSettings = AggregateSettings()
    flush: FlushSettings = FlushSettings()
    forward: ForwardSettings = ForwardSettings()
    spool: SpoolSettings = SpoolSettings()

    def __post_init__(self) -> None:
        for reserved in (BACKFILL_PREFIX, OF_MESSAGES, OF_UP):
            if self.name.startswith(reserved):
                raise ValueError(f"name begins with {reserved!r}, which is reserved: expected another name")
        if self.exposition and "le" in self.tags:
            raise ValueError(
                'tags has the key "le", the one of buckets in agent.exposition: expected another key'
            )
        if self.exposition and not self.ops:
            raise ValueError("exposition without ops: expected an address of agent.ops to serve it at")
        if not self.forward.sends and not self.exposition:
            raise ValueError(
                "forward.url is empty: expected the URL of an indexer, or agent.exposition = true without one"
            )
