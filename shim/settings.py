"""The settings of the shim: section `[shim]`. Read once, at the entry point, and passed down.

Owns names, defaults and ranges; agent/config/load.py reads them.
"""

from __future__ import annotations

import re
import string
from ipaddress import ip_address
from typing import Annotated, Final, Literal

import msgspec

from agent.config.host_port import parse_host_port
from agent.config.http_url import split_http_url
from agent.config.load import check_listen
from agent.config.secrets import masked_url
from agent.settings import ClientTls, Tls
from indexer.clickhouse.retention import Retention
from indexer.settings import Http, check_dsn, check_redis
from shim.model.allowed_hosts import AllowedHosts
from shim.model.tenancy import TenancySettings

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
DAY_S = 86_400
_MIN_SECRET_BYTES = 16


class CatalogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.catalog]`: the look-up of series."""

    #: Series whose labels are kept in memory, over all tenants.
    cache_series: Positive = 500_000
    #: Finished look-ups that are kept (only used when the indexer runs in the same process).
    cache_selections: NotNegative = 1_000
    #: Strings (names, label names, label values) that are kept in memory.
    cache_strings: Positive = 1_000_000
    #: How old the index of metric names and label names may become before it is read again, in seconds.
    names_max_age_s: Annotated[float, msgspec.Meta(ge=0, le=DAY_S)] = 10.0
    #: Series one selector may look at to find those it wants.
    max_scanned_series: Positive = 5_000_000


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.cache]`: decoded cells in memory, where this process also writes (`meterhouse up`)."""

    #: Bytes of memory for blocks of cells (an embedded store only); 0: none, every reading is a statement.
    max_bytes: NotNegative = 268_435_456
    #: Readings of all series of a metric after which a block is filled; of some series four times as many.
    fill_after: Positive = 2
    #: Seconds after a start in which the caches of before are filled again, while no query runs; 0: never.
    restore_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0


class IndexersSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.indexers]`: where the indexers are, if they are processes of their own."""

    #: The URLs of all indexers, http(s)://host:port. They tell an org's limits of ingest
    #: (`/api/v1/status/tsdb`) and store subscriptions.
    urls: list[str] = []
    #: A bearer token of the indexers with the rights "admin" (limits, deletions) and "write" (subscriptions),
    #: or one of the only org.
    token: str = ""
    #: A file with that token, read for each request.
    token_file: str = ""
    #: The CA of https indexers, and the shim's own certificate.
    tls: ClientTls = ClientTls()

    def __post_init__(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")) or split_http_url(url) is None:
                raise ValueError(f"urls: {masked_url(url)!r}: expected http://host:port or https://host:port")
        if self.token and self.token_file:
            raise ValueError("token and token_file: expected one of both")


class SubscriptionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.subscriptions]`."""

    #: Whether this process evaluates subscriptions.
    evaluate: bool = True
    #: Seconds between two looks for ticks that are due.
    every_s: Annotated[float, msgspec.Meta(ge=0.05, le=3_600)] = 5.0
    #: Late ticks of one subscription that are caught up; older ones are counted as skipped.
    max_late_ticks: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    #: redis://host:port/db of a stream that all results are added to; empty: they are not.
    stream_url: str = ""
    #: The key of that stream.
    stream: Annotated[str, msgspec.Meta(min_length=1)] = "meterhouse:subscriptions"
    #: Entries that the stream keeps, about.
    stream_entries: Positive = 100_000
    #: A text of 16 bytes or more from which the secrets of webhooks are made, the same in all shims; empty:
    #: subscriptions may have no webhook.
    webhook_secret: str = ""
    #: Seconds after a tick in which its result is sent to a webhook that fails.
    webhook_max_age_s: Annotated[float, msgspec.Meta(ge=60, le=30 * DAY_S)] = 86_400.0

    def __post_init__(self) -> None:
        check_redis("stream_url", self.stream_url)
        if 0 < len(self.webhook_secret.encode()) < _MIN_SECRET_BYTES:
            raise ValueError(f"webhook_secret: it is short: expected at least {_MIN_SECRET_BYTES} bytes")


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.webhooks]`: webhooks whose URLs tenants choose."""

    #: Hosts that URLs of tenants may name: host, host:port, host:*, *.suffix or *; none: no tenant may have a
    #: webhook. Names that only a pattern with * allows must have public addresses.
    allowed_hosts: list[str] = []
    #: How long one try of a webhook may take, in seconds.
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0

    def __post_init__(self) -> None:
        try:
            AllowedHosts(self.allowed_hosts)
        except ValueError as e:
            raise ValueError(f"allowed_hosts: {e}") from None


#: Prefixes of names in DNS. Source: Thanos' service discovery.
ADDRESSES: Final = "dns"
SERVICES: Final = "dnssrv"
SERVICES_BY_NAME: Final = "dnssrvnoa"
_NAME_CHARACTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-_.")


def _check_dns(name: str) -> None:
    prefix, found, rest = name.rpartition("+")
    if not found or prefix == ADDRESSES:
        check_listen("dns", rest)
    elif prefix not in (SERVICES, SERVICES_BY_NAME):
        raise ValueError(f"dns: {name!r}: expected host:port, dns+host:port, dnssrv+NAME or dnssrvnoa+NAME")
    elif not rest or not set(rest.lower()) <= _NAME_CHARACTERS:
        raise ValueError(f"dns: {name!r}: expected a name without a port, as _web._tcp.example.com")


def _check_ip(name: str, host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(f"{name}: {host!r}: expected an IP address and a port") from None


class AlertmanagerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.alertmanager]`: the Alertmanagers that are told of alerts (API v2)."""

    #: URLs of Alertmanagers, http(s)://host:port, with a path if they have one.
    urls: list[str] = []
    #: Files of Alertmanagers as in Prometheus' file_sd_configs (JSON or YAML); the last part may have *.
    files: list[str] = []
    #: Names of Alertmanagers in DNS: host:port or dns+host:port (addresses, A and AAAA), dnssrv+NAME
    #: (SRV, as _web._tcp.am.test, and the addresses of its targets), dnssrvnoa+NAME (SRV, targets by name).
    dns: list[str] = []
    #: The name server that is asked for them, IP:port; empty: the system's.
    dns_server: str = ""
    #: The scheme of Alertmanagers of files and DNS.
    scheme: Literal["http", "https"] = "http"
    #: The path before /api/v2/alerts of Alertmanagers of files and DNS.
    path_prefix: str = ""
    #: Seconds between two looks at files and DNS.
    refresh_s: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 30.0
    #: How long one request may take, in seconds.
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    #: Alerts of one request.
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    #: Alerts that wait for one Alertmanager; the oldest of more are dropped and counted.
    max_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    #: Seconds after its first failure in which a request is tried; then its alerts are dropped and counted.
    max_age_s: Annotated[float, msgspec.Meta(ge=1, le=30 * DAY_S)] = 3_600.0
    #: Seconds after which an alert that still fires, or was resolved, is sent again.
    resend_s: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 60.0
    #: The user of basic authentication; empty: none.
    username: str = ""
    #: Its password.
    password: str = ""
    #: A file with its password, read for each request.
    password_file: str = ""
    #: A bearer token.
    token: str = ""
    #: A file with the bearer token, read for each request.
    token_file: str = ""
    #: The CA of https Alertmanagers, and the shim's own certificate.
    tls: ClientTls = ClientTls()
    #: The name in the certificates of https Alertmanagers; empty: the host, of DNS the name.
    server_name: str = ""

    def __post_init__(self) -> None:
        for url in self.urls:
            if split_http_url(url) is None or "@" in url:
                raise ValueError(f"urls: {masked_url(url)!r}: expected http://host:port or https://host:port")
        for name in self.dns:
            _check_dns(name)
        if self.dns_server:
            check_listen("dns_server", self.dns_server)
            _check_ip("dns_server", parse_host_port(self.dns_server)[0])
        if bool(self.token or self.token_file) + bool(self.username) > 1:
            raise ValueError("token and username: expected one of both")
        for name in ("password", "token"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file: expected one of both")


class AlertWebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.alert_webhook]`: a webhook that is told of alerts, without an Alertmanager."""

    #: The URL that alerts are posted to, as Alertmanager's webhooks are (version 4); empty: none.
    url: str = ""
    #: A file with the URL, read for each request.
    url_file: str = ""
    #: The key of signatures, whsec_BASE64 or text of 16 bytes or more. During a change it has both keys,
    #: separated by a space. Empty: unsigned.
    secret: str = ""
    #: A file with the secret, read for each request.
    secret_file: str = ""
    #: How long one request may take, in seconds.
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    #: Alerts of one request; they have one name.
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    #: Alerts that wait; the oldest of more are dropped and counted.
    max_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    #: Seconds after its first failure in which a message is tried; then it is dropped and counted.
    max_age_s: Annotated[float, msgspec.Meta(ge=1, le=30 * DAY_S)] = 86_400.0
    #: Seconds after which an alert that still fires is sent again.
    repeat_s: Annotated[float, msgspec.Meta(ge=1, le=366 * DAY_S)] = 14_400.0

    def __post_init__(self) -> None:
        if self.url and split_http_url(self.url) is None:
            raise ValueError("url: expected http://host:port/path or https://host:port/path")
        if any(len(key) < 16 for key in self.secret.split()):
            raise ValueError(
                "secret: expected whsec_ and base64, or text without spaces, of 16 bytes or more"
            )
        for name in ("url", "secret"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file: expected one of both")

    @property
    def is_set(self) -> bool:
        """Whether there is a webhook."""
        return bool(self.url or self.url_file)


class LeaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.lease]`: which of several shims evaluates a rule group or subscriptions."""

    #: redis://host:port/db, in which shims agree; empty: this process evaluates all that its settings say.
    redis_url: str = ""
    #: Seconds after which another shim takes over from one that ended without a word.
    ttl_s: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 10.0

    def __post_init__(self) -> None:
        check_redis("redis_url", self.redis_url)


class RulesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.rules]`: alerting and recording rules."""

    #: A rule file, or a directory of them (*.yml, *.yaml). With several tenants: a directory with
    #: ORG/PROJECT/*.yml, and ORG/*.yml for rules over all projects of an org. Empty: no rules.
    path: str = ""
    #: Whether this process evaluates rules.
    evaluate: bool = True
    #: The interval of groups without one, in seconds (Prometheus' evaluation_interval).
    interval_s: Annotated[int, msgspec.Meta(ge=1, le=DAY_S)] = 60
    #: Seconds between two looks for changed rule files.
    reload_s: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 5.0
    #: Late ticks of recording rules that are caught up, after a time without a shim, a store or an indexer.
    max_late_ticks: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    #: Queries of rules that run at the same time; with several orgs, of each one less.
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    #: Series that one rule may yield; a rule that yields more fails.
    max_series: Positive = 10_000
    #: The longest the query of a rule may take, in seconds.
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 30.0
    #: How long ago the state of an alert may have been stored to be taken over, in seconds (Prometheus'
    #: outage tolerance).
    outage_tolerance_s: Annotated[float, msgspec.Meta(ge=0, le=30 * DAY_S)] = 3_600.0
    #: Rule files that one org may have, and directories of projects; with more its files stay as they were.
    max_files: Positive = 10_000
    #: Bytes that the rule files of one org may have; further files are refused.
    max_bytes: Positive = 64 << 20
    #: Groups of rules that one org may have; a file with further ones is refused.
    max_groups: Positive = 2_000
    #: Rules that one org may have; a file with further ones is refused.
    max_rules: Positive = 20_000
    #: The project that the results of an org's own rules are stored in, unless they have a label project_id.
    org_project_id: Annotated[int, msgspec.Meta(ge=1, le=0xFFFFFFFF)] = 1


class ShimSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim]`."""

    #: Where the HTTP API listens, host:port; port 0 takes a free one.
    listen: str = "127.0.0.1:9090"
    #: The ClickHouse to read: chdb:///path or http(s)://user:password@host:port/database.
    dsn: str = "chdb:///./data/chdb"
    #: Name of the ClickHouse cluster, whose nodes end statements of cancelled queries; the user needs
    #: CLUSTER and KILL QUERY for it, and no readonly. None: the node that answers does.
    cluster: str | None = None
    #: How long a gauge or set stays present after its last data, in seconds (Prometheus' lookback delta).
    lookback_s: Annotated[float, msgspec.Meta(gt=0, le=366 * DAY_S)] = 300.0
    #: How long a counter or distribution stays present, with increase 0, after its last data, in seconds.
    counter_lookback_s: Annotated[float, msgspec.Meta(gt=0, le=366 * DAY_S)] = 3_600.0
    #: How long after its end a bucket is waited for at most, in seconds; it is complete as soon as all agents
    #: are past it (docs/decisions/live-edge.md). 0: no bucket is waited for.
    settle_s: Annotated[float, msgspec.Meta(ge=0, le=DAY_S)] = 5.0
    #: Points one series of an answer may have.
    max_points: Positive = 11_000
    #: Series one selector may select.
    max_series: Positive = 100_000
    #: Samples that one query may read in all, and array elements that each array made of them may have.
    max_samples: Positive = 50_000_000
    #: The longest a query may take, in seconds; a request may ask for less.
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=DAY_S)] = 120.0
    #: Queries that are worked on at the same time; where there are several orgs, of each one less.
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    #: Queries that may wait for their turn; more are refused with 503.
    max_waiting: NotNegative = 100
    #: How names that are no legacy Prometheus names are shown: "underscore" (http_requests) or "utf8".
    names: Literal["underscore", "utf8"] = "underscore"
    #: How distributions are shown: "native" histograms, or "classic" series (x_bucket, x_sum, x_count).
    histograms: Literal["native", "classic"] = "native"
    #: Origins (an anchored regex) that browsers may call the API from.
    cors_origin: str = ".*"
    #: Whether PromQL that Prometheus calls experimental may be used (info, fill modifiers, limitk, ...).
    experimental: bool = True
    #: The URL by which people reach this API, in links of alerts; empty: http://HOST:PORT of this process.
    external_url: str = ""
    #: Labels that alerts get unless their rule sets them, for receivers that several deployments share.
    external_labels: dict[str, str] = {}
    #: Bytes the text of a query may have; the selectors of `match[]` together.
    max_query_bytes: Annotated[int, msgspec.Meta(ge=1, le=16 << 20)] = 1_048_576
    #: Bytes a request's form may have.
    max_form_bytes: Positive = 10_000_000
    #: Bytes a request's line and headers may have together; longer ones are answered 431.
    max_head_bytes: Annotated[int, msgspec.Meta(ge=8_192, le=16 << 20)] = 1_048_576
    #: Bytes that request lines and headers over 64 KiB may have together; more are answered 503.
    max_long_heads_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 33_554_432
    #: Whether /metrics is shown without a credential where tenancy.mode is "token"; else it needs one with
    #: the right "operator".
    metrics_open: bool = False
    #: Whether `/api/v1/admin/tsdb/delete_series` deletes samples (Prometheus' --web.enable-admin-api). Where
    #: tenancy.mode is "token" it needs a credential with the right "admin".
    admin_api: bool = False
    #: Whose data a request sees.
    tenancy: TenancySettings = TenancySettings()
    #: How long rows are kept: older windows are read from coarser rollups. While it is the default, a shim of
    #: its own reads the indexers' retention from the database when it starts.
    retention: Retention = Retention()
    #: The look-up of series.
    catalog: CatalogSettings = CatalogSettings()
    #: Bounds on connections of the HTTP listener.
    http: Http = Http()
    #: TLS of the HTTP listener.
    tls: Tls = Tls()
    #: Where the indexers are.
    indexers: IndexersSettings = IndexersSettings()
    #: The evaluation of subscriptions.
    subscriptions: SubscriptionSettings = SubscriptionSettings()
    #: Alertmanagers that are told of alerts.
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    #: A webhook that is told of alerts.
    alert_webhook: AlertWebhookSettings = AlertWebhookSettings()
    #: Webhooks of tenants.
    webhooks: WebhookSettings = WebhookSettings()
    #: Alerting and recording rules.
    rules: RulesSettings = RulesSettings()
    #: Who evaluates.
    lease: LeaseSettings = LeaseSettings()
    #: Decoded cells in memory.
    cache: CacheSettings = CacheSettings()

    def __post_init__(self) -> None:
        check_listen("listen", self.listen)
        check_dsn(self.dsn)
        if self.external_url and split_http_url(self.external_url) is None:
            raise ValueError("external_url: expected http://host:port/path or https://host:port/path")
        if self.tenancy.proxy_cert and not self.tls.client_ca:
            raise ValueError("tenancy.proxy_cert without tls.client_ca: expected a file of CAs")
        try:
            re.compile(self.cors_origin)
        except re.error as e:
            raise ValueError(f"cors_origin: expected a regular expression: {e}") from None
