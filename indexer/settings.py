"""The indexer's settings: section `[indexer]` of the file, `METERHOUSE_INDEXER__*` in the environment.

Owns names, defaults and ranges; agent/config/load.py reads them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec

from agent.config.load import check_listen
from agent.config.secrets import MASK
from agent.settings import Tls
from indexer.access.grants import Entry, EntryError, Right, parse_entries, parse_tenant
from indexer.clickhouse.dsn import data_path
from indexer.clickhouse.retention import Retention

#: The scope of a token in a plain list.
OF_PLAIN_TOKENS: Final = "1:1"
#: The scope of every org.
EVERY_TENANT: Final = "*:*"
#: The rights of a credential of `indexer.tokens` that names none.
_RIGHTS: Final = frozenset({Right.WRITE})

Batching = Literal["auto", "journal", "frame"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Id = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]
Org = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFE)]  # the one after it is of meterhouse doctor
NotNegative = Annotated[int, msgspec.Meta(ge=0)]

#: Parameters of a DSN after `?`, by its scheme.
_CHDB_OPTIONS: Final = frozenset({"database"})
_HTTP_OPTIONS: Final = frozenset(
    {
        *("access_token", "ca_cert", "client_cert", "client_cert_key", "client_name", "compress"),
        *("compression", "connect_timeout", "http_proxy", "https_proxy", "native_codec", "proxy_path"),
        *("query_retries", "send_receive_timeout", "server_host_name", "show_clickhouse_errors"),
        *("tls_mode", "user", "user_name", "verify"),
    }
)
#: Characters of an unknown parameter that its error shows.
_MAX_SHOWN: Final = 50

#: `retention_days` is part of the partition key: each step multiplies the partitions.
_MAX_STEPS: Final = 16


class BatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How frames are gathered into INSERTs (batching by journal)."""

    rows: Positive = 200_000  # a batch is closed when it has this many rows; 500,000 at most
    bytes: Positive = 64 << 20  # ... or this many bytes of frames
    #: ... or its oldest frame has waited this long
    linger_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 50
    #: parts a second, on average of all tables, that all indexers of a server's database may make together:
    #: each has an equal share, and a batch that is not full waits for it; 0: no limit
    parts_per_s: Annotated[float, msgspec.Meta(ge=0, le=1_000)] = 8.0


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that lets batches survive a crash; used for batching by journal."""

    #: the SQLite file, of one indexer alone; empty: beside the embedded data, else
    #: ./data/indexer-journal.sqlite
    path: str = ""
    identities: Positive = 1_000_000  # frames that are remembered as done
    identity_days: Positive = 14  # ... for this many days
    #: batches that fail while others succeed are set aside up to this size; then they count in
    #: bounds.queue_bytes
    aside_bytes: NotNegative = 256 << 20


class StreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Redis stream of JSON messages that the indexer consumes; docs/streams.md."""

    url: str = ""  # redis://host:port/db of the stream; empty: no stream is consumed
    key: Annotated[str, msgspec.Meta(min_length=1)] = "metrics"  # key of the stream
    #: consumer group; created at the beginning of the stream
    group: Annotated[str, msgspec.Meta(min_length=1)] = "meterhouse"
    #: name of this consumer in the group, different for each indexer; empty: the name of the host
    consumer: Annotated[str, msgspec.Meta(pattern=r"^\S*$")] = ""
    tenants: str = EVERY_TENANT  # whose messages are stored: "org:project", "org:*" or "*:*"
    entries: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 10_000  # a batch has at most this many entries
    bytes: Annotated[int, msgspec.Meta(ge=1, le=64 << 20)] = 4 << 20  # ... or ends at this many bytes
    #: a consumer that is silent for this long counts as dead, and another takes its batch over
    claim_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    dead_letters: Positive = 100_000  # dead letters that are kept, about
    commit_log: Positive = 100_000  # entries of the commit log that are kept, about

    def __post_init__(self) -> None:
        if self.url:  # else it is the default, made before the check is
            check_redis("url", self.url)
        if self.tenants != EVERY_TENANT and parse_tenant(self.tenants) is None:
            raise ValueError('tenants: expected "org:project", "org:*" or "*:*"')


#: Options of librdkafka that the indexer sets itself, as exactly once needs them.
_KAFKA_OPTIONS: Final = frozenset(
    {
        *("bootstrap.servers", "metadata.broker.list", "group.id", "enable.auto.commit"),
        *("enable.auto.offset.store", "auto.offset.reset", "enable.idempotence", "acks", "isolation.level"),
        *("sasl.username", "enable.partition.eof", "queued.max.messages.kbytes"),
    }
)


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Kafka topic of JSON messages that the indexer consumes; docs/streams.md."""

    #: host:port of brokers, separated by commas; empty: no topic is consumed. Needs meterhouse[kafka]
    brokers: str = ""
    topic: Annotated[str, msgspec.Meta(min_length=1)] = "generic-metrics"  # the topic of messages
    group: Annotated[str, msgspec.Meta(min_length=1)] = "meterhouse"  # consumer group; begins at the earliest
    tenants: str = EVERY_TENANT  # whose messages are stored: "org:project", "org:*" or "*:*"
    entries: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 10_000  # a batch has at most this many messages
    bytes: Annotated[int, msgspec.Meta(ge=1, le=64 << 20)] = 4 << 20  # ... or this many bytes
    dead_letter_topic: str = ""  # topic of dead letters; empty: TOPIC-GROUP-dead-letters
    parked_topic: str = ""  # topic of parked frames; empty: TOPIC-GROUP-parked
    commit_log_topic: str = ""  # topic of the commit log; empty: none is written, the table has it
    user: str = ""  # user of SASL; empty: none
    password: str = ""  # password of SASL
    #: further options of librdkafka, such as {"security.protocol" = "SASL_SSL", "sasl.mechanism" = "PLAIN"}
    options: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.tenants != EVERY_TENANT and parse_tenant(self.tenants) is None:
            raise ValueError('tenants: expected "org:project", "org:*" or "*:*"')
        for name in self.options:
            if name in _KAFKA_OPTIONS or name.endswith("password"):
                raise ValueError(f"options: {name}: expected options that the indexer does not set itself")


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the indexer's input; beyond them it refuses, and counts."""

    body_bytes: Positive = 32 << 20  # a longer request is answered 413
    frame_bytes: Positive = 64 << 20  # a frame that unpacks to more is refused
    queue_bytes: Positive = 256 << 20  # frames waiting to be written; beyond it the answer is 503
    #: memory for decoding all requests; a request that finds none free within some seconds is answered 503
    decode_bytes: Positive = 256 << 20
    messages: Positive = 10_000  # JSON messages in one request
    pending_requests: Positive = 10_000  # requests without a key that are remembered as answered 503
    future_s: NotNegative = 86_400  # a bucket that starts further in the future is refused
    subscriptions: Positive = 1_000  # subscriptions of one org; further ones are refused
    agents: Positive = 10_000  # runs of agents whose heartbeats are kept; others are not waited for
    cached_strings: Positive = 1_000_000  # strings whose ids are kept in the process
    cached_series: Positive = 2_000_000  # (series, day) pairs known to be in the table


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds for clients of an HTTP listener (`[indexer.http]`, `[shim.http]`)."""

    #: connections of this listener, at most a quarter of the files the process may open; at the bound the
    #: oldest one that waits for its client makes room for a new one
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 512
    #: seconds a client may take for a request's line and headers
    head_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0
    #: seconds a client may take for a request's body, and to read a part of an answer
    body_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 60.0
    #: seconds a connection is kept open for the next request
    idle_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0
    #: host names, besides localhost, of web pages that may write; a loopback listener then also answers to
    #: them
    allowed_hosts: list[str] = []


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the orgs' writes; beyond them rows are refused for now, folded or rounded, and counted."""

    #: `retention_days` that are stored: others are rounded up to the next, above the last to days_1d
    retention_steps: tuple[int, ...] = (1, 7, 14, 30, 60, 90, 180, 365, 730)
    rows_per_s: NotNegative = 500_000  # rows of an org a second, beyond it the answer is 429; 0: no limit
    rows_burst: Positive = 10_000_000  # rows of an org at once, above that rate
    strings_per_s: NotNegative = 10_000  # strings of an org never seen before, as rows_per_s
    strings_burst: Positive = 4_000_000  # such strings at once; more than one frame has
    #: new series of an org per day; more fold into `__overflow__="true"` of their metric, or with batching by
    #: frame are answered 429; 0: no limit
    series_per_day: NotNegative = 1_000_000

    def __post_init__(self) -> None:
        steps = self.retention_steps
        if not 1 <= len(steps) <= _MAX_STEPS or list(steps) != sorted(set(steps)):
            raise ValueError(f"retention_steps: expected 1 to {_MAX_STEPS} numbers of days, ascending")
        if not 1 <= steps[0] <= steps[-1] <= 65_535:
            raise ValueError("retention_steps: expected numbers of days from 1 to 65535")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[indexer]`."""

    dsn: str = "chdb:///./data/chdb"  # chdb:///path (embedded) or http(s)://user:password@host:port/database
    cluster: str | None = None  # name of the ClickHouse cluster; none: a single node
    #: replicas that must have the rows of an INSERT before it counts as stored: a number, "auto" (most of
    #: them), or 0 for one
    insert_quorum: Annotated[str, msgspec.Meta(pattern=r"^(auto|[0-9]{1,2})$")] = "0"
    listen: str = "127.0.0.1:8126"  # host:port of frames, messages and metrics; port 0 takes a free one
    redis_url: str = ""  # redis://host:port/db of the cache that indexers share; empty: none
    #: Bearer token, or its hash (`meterhouse token`) -> the scope it may write to: "org:project", "org:*" or
    #: "*:*"; then rights, if not "write" (`"1:* write,admin"`), and `expires=2027-01-31`. A plain list of
    #: tokens has the scope 1:1. Empty, and no `tokens_file`: every client may write.
    tokens: list[str] | dict[str, str] = []
    #: A file with more tokens, one line `TOKEN SCOPE RIGHTS` each; read again when it changes.
    tokens_file: str = ""
    #: Whether /metrics is open without a credential when tokens are set; else it needs the right "operator".
    metrics_open: bool = False
    #: Whether `POST /v1/deletions` deletes samples, for shims in other processes; it needs the right "admin"
    #: when tokens are set. In `meterhouse up` shim.admin_api alone decides.
    admin_api: bool = False
    #: No other indexer writes to this ClickHouse: deletions may then begin and end within a day, and delete
    #: texts. Embedded data have one indexer always, a cluster never.
    only_indexer: bool = False
    #: journal (batches, on a disk of this indexer), frame (each frame is an INSERT, nothing is on a disk) or
    #: auto: journal if the data are embedded or `journal.path` is set
    batching: Batching = "auto"
    #: clients of ClickHouse, and so concurrent INSERTs when batching by frame
    connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    attempts: Positive = 10  # tries of a batch while ClickHouse takes others, before it is set aside
    #: a frame not stored within this time is answered 503; its batch continues
    acknowledge_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 20.0
    #: how long a shutdown continues to write accepted frames
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0
    #: whether up{job, instance} is stored for agents and this indexer; a project's own up takes precedence
    up: bool = True
    org_id: Org = 1  # organisation of this indexer's own up
    project_id: Id = 1  # project of this indexer's own up
    batch: BatchSettings = BatchSettings()
    journal: JournalSettings = JournalSettings()
    stream: StreamSettings = StreamSettings()
    kafka: KafkaSettings = KafkaSettings()
    bounds: Bounds = Bounds()
    http: Http = Http()
    tls: Tls = Tls()
    limits: Limits = Limits()
    retention: Retention = Retention()

    def __post_init__(self) -> None:
        check_dsn(self.dsn)
        try:
            entries(self)
        except EntryError as e:
            raise ValueError(f"tokens: {e}") from None
        check_listen("listen", self.listen)
        check_redis("redis_url", self.redis_url)

    @property
    def has_journal(self) -> bool:
        """Whether a journal batches the frames."""
        chosen = self.batching == "auto" and (bool(self.journal.path) or data_path(self.dsn) is not None)
        return self.batching == "journal" or chosen


def entries(settings: Settings) -> list[Entry]:
    """Return the credentials of the settings. Raises EntryError."""
    given = settings.tokens
    scoped = given if isinstance(given, dict) else dict.fromkeys(given, OF_PLAIN_TOKENS)
    return parse_entries(scoped, _RIGHTS)


def check_redis(name: str, url: str) -> None:
    """Raise ValueError for the URL of a Redis that cannot be used."""
    if url and _split(name, url).scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{name}: expected redis://, rediss:// or unix://")


def check_dsn(dsn: str) -> None:
    """Raise ValueError for an unusable DSN; the text hides the DSN, which has a password."""
    parts = _split("dsn", dsn)
    if not (
        (parts.scheme == "chdb" and (parts.netloc + parts.path).strip("/"))
        or (parts.scheme in ("http", "https") and parts.hostname)
    ):
        raise ValueError("dsn: expected chdb:///path or http(s)://user:password@host:port/database")
    known = _CHDB_OPTIONS if parts.scheme == "chdb" else _HTTP_OPTIONS
    if unknown := sorted(parse_qs(parts.query, keep_blank_values=True).keys() - known):
        # Text that is not a name may be a part of a password.
        names = ", ".join(name[:_MAX_SHOWN] if name.isidentifier() else MASK for name in unknown[:3])
        raise ValueError(f"dsn has unknown parameters ({names}): expected {', '.join(sorted(known))}")


def _split(name: str, url: str) -> SplitResult:
    """Split a URL. Raises ValueError whose text hides it, as those of urllib do not."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            f"{name}: not a URL: expected a port of digits,"
            " and / # ? @ : of a password written as %2F %23 %3F %40 %3A"
        ) from None
    return parts
