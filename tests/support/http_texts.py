"""Random HTTP requests, good and bad, for the API and the indexer. Pure: the same seed, the same bytes."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Final

TEXTS: Final = (
    b"",
    b"1",
    b"-1",
    b"0",
    b"1e400",
    b"-1e308",
    b"1e9",
    b"NaN",
    b"Inf",
    b"9" * 5_000,
    b"9223372036854775808",
    b"5m",
    b"1ms",
    b"9" * 30 + b"y",
    b"2026-11-28T00:00:00Z",
    b"0000-00-00T00:00:00Z",
    b"2026-02-30T25:61:61+99:99",
    "\u0663".encode(),
    b"\xff",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x00",
    b"%",
    b"%ff",
    b"%00",
    b"%ed%a0%80",
    b"\xc0\x80",
    b"up",
    b"sum(up)",
    b"up[5m]",
    b'{__name__=~".+"}',
    b"{",
    b"rate(up[5m:1s])",
    b"vector(1)",
    b"1/0",
    b'"\\xff"',
    b'up{a="\xff"}',
    b"(" * 3_000,
    b"-" * 3_000 + b"1",
    b'label_replace(up,"a","$1","b","(")',
    b"native",
    b"classic",
    b"true",
    b"\xf0\x9f\x98\x80",
    b"a" * 20_000,
    b"[]",
    b"[" * 5_000,
    b"{}",
    b"null",
    b"&&==",
    b"+",
    b";",
)
NAMES: Final = (
    b"query",
    b"time",
    b"start",
    b"end",
    b"step",
    b"timeout",
    b"limit",
    b"match[]",
    b"match%5B%5D",
    b"lookback_delta",
    b"stats",
    b"explain",
    b"granularity",
    b"metric",
    b"limit_per_metric",
    b"histograms",
    b"counter_lookback",
    b"%ff",
    b"",
)
API_PATHS: Final = (
    b"/",
    b"/-/healthy",
    b"/-/ready",
    b"/metrics",
    b"/federate",
    b"/api/v1/query",
    b"/api/v1/query_range",
    b"/api/v1/query_exemplars",
    b"/api/v1/format_query",
    b"/api/v1/parse_query",
    b"/api/v1/labels",
    b"/api/v1/series",
    b"/api/v1/label/job/values",
    b"/api/v1/label/%ff/values",
    b"/api/v1/label/U__%66_ff_/values",
    b"/api/v1/label/__name__/values",
    b"/api/v1/metadata",
    b"/api/v1/rules",
    b"/api/v1/alerts",
    b"/api/v1/targets",
    b"/api/v1/status/tsdb",
    b"/api/v1/status/config",
    b"/api/v1/status/runtimeinfo",
    b"/api/v1/status/buildinfo",
    b"/api/v1/targets/metadata",
    b"/api/v1/scrape_pools",
    b"/api/v1/nothing",
    b"/%ff",
    b"//",
    b"/api/v1/../../x",
    b"/api/v1/label/%00/values",
    b"/api/v1/label//values",
    b"*",
    b"http://other/api/v1/query",
    b"/%2e%2e/%2f",
)
INDEXER_PATHS: Final = (
    b"/v1/frames",
    b"/v1/messages",
    b"/v1/messages",
    b"/v1/heartbeats",
    b"/v1/bundles",
    b"/v1/metadata",
    b"/status",
    b"/v1/limits",
    b"/metrics",
    b"/healthz",
    b"/readyz",
    b"/v1/%ff",
    b"/v1/nothing",
    b"/v1/../v1/messages",
)
METHODS: Final = (b"GET", b"GET", b"POST", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"PATCH")
TYPES: Final = (
    b"application/x-www-form-urlencoded",
    b"application/json",
    b"text/plain",
    b"multipart/form-data",
    b"multipart/form-data; boundary=x",
    b"application/x-www-form-urlencoded; charset=nope",
    b"/",
    b";",
    b"\xff/\xff",
    b"application/x-www-form-urlencoded; charset=rot13",
    b"application/x-www-form-urlencoded; charset=utf-16",
    b"application/x-www-form-urlencoded; charset=idna",
    b"application/json; charset=\xff",
    b'a/b; c="',
    b"application/x-www-form-urlencoded; charset=undefined",
    b"application/json; charset=utf-7",
    b"=?utf-8?q?=ff?=",
)
HEADERS: Final = (
    b"Expect: 100-continue",
    b"Expect: \xff",
    b"Expect: x",
    b"Authorization: Bearer \xff",
    b"Authorization: \xff\xfe",
    b"Authorization: Bearer",
    b"Authorization: Basic \xff",
    b"Authorization: Basic eA==",
    b"Authorization: Bearer a b",
    b"Idempotency-Key: \xff\xfe",
    b"Idempotency-Key: a",
    b"Idempotency-Key: " + b"k" * 300,
    b"Origin: null",
    b"Origin: \xff",
    b"Origin: http://[",
    b"Origin: http://localhost",
    b"Sec-Fetch-Site: cross-site",
    b"Accept-Encoding: gzip;q=0",
    b"Accept-Encoding: gzip;q=\xff",
    b"Accept-Encoding: *;q=1e400,,;;",
    b"Accept: \xff",
    b"Accept-Encoding: gzip",
    b"Range: bytes=0-",
    b"Range: bytes=\xff",
    b"Range: bytes=9-1",
    b"If-None-Match: \xff",
    b"If-Modified-Since: Thu, 99 Nov 9999999 00:00:00 GMT",
    b"Cookie: \xff=\xfe; a",
    b"X-Scope-OrgID: \xff",
    b"X-Org-Id: 99999999999999999999",
    b"X-Project-Id: \xd9\xa3",
    b"Upgrade: h2c\r\nConnection: upgrade",
    b"Upgrade: websocket\r\nConnection: upgrade",
    b"Connection: close",
    b"Connection: \xff",
    b"Forwarded: for=\xff",
    b"Accept: text/html",
    b"Accept: application/openmetrics-text;escaping=allow-utf-8",
    b"User-Agent: \xff",
    b"X: \x01",
    b"Content-Length: 5",
    b"Transfer-Encoding: \xff",
    b"Host: \xff",
    b": x",
    b"no colon",
    b"Content-Encoding: \xff",
)
ENCODINGS: Final = (b"gzip", b"deflate", b"br", b"zstd", b"identity", b"x", b"gzip, gzip", b"GZIP", b"\xff")


class Requests:
    """A stream of requests for `paths`, with the bodies of `bodies` among them."""

    def __init__(self, seed: str, paths: tuple[bytes, ...], bodies: tuple[bytes, ...] = ()) -> None:
        self._random = random.Random(seed)
        self._paths = paths
        self._bodies = bodies

    def next(self) -> tuple[bytes, bytes]:
        """Return the method and all bytes of one request, which asks for the end of its connection."""
        pick, chance = self._random.choice, self._random.random
        method, path = pick(METHODS), pick(self._paths)
        if chance() < 0.7:
            path += b"?" + self._form(raw=chance() < 0.05)
        body, headers = b"", [b"Host: localhost"] if chance() < 0.97 else []
        headers += [pick(HEADERS) for _ in range(self._random.choice((0, 0, 0, 1, 1, 2)))]
        if method in (b"POST", b"PUT", b"PATCH"):
            body, more = self._body()
            headers += more
        if chance() < 0.5:
            headers.append(b"Authorization: Bearer secret")
        lines = [method + b" " + path + b" HTTP/1.1", *headers, b"Connection: close"]
        return method, b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _form(self, *, raw: bool = False) -> bytes:
        pick = self._random.choice
        count = pick((0, 1, 2, 3, 4, 5, 1_500)) if self._random.random() < 0.1 else pick((1, 2, 3, 4, 5))
        values = (self._value() for _ in range(count))
        named = ((pick(NAMES), v if raw else _quoted(v)) for v in values)
        return b"&".join(name + b"=" + value for name, value in named) + (b"&\xff=\xff" if raw else b"")

    def _value(self) -> bytes:
        if self._random.random() < 0.1:
            return self._random.randbytes(self._random.randrange(1, 40))
        return self._random.choice(TEXTS)

    def _body(self) -> tuple[bytes, list[bytes]]:
        pick, chance = self._random.choice, self._random.random
        body = pick(self._bodies) if self._bodies and chance() < 0.6 else self._form()
        if chance() < 0.3:
            body = self._changed(body)
        headers = [b"Content-Type: " + (pick(TYPES) if chance() < 0.5 else pick(TYPES[:2]))]
        if chance() < 0.2:
            encoding = pick(ENCODINGS)
            headers.append(b"Content-Encoding: " + encoding)
            if chance() < 0.6:
                body = gzip.compress(body) if encoding == b"gzip" else zlib.compress(body)
        if chance() < 0.2:
            return _chunked(body), [*headers, b"Transfer-Encoding: chunked"]
        return body, [*headers, b"Content-Length: %d" % len(body)]

    def _changed(self, body: bytes) -> bytes:
        """Return the body with some bytes replaced, removed or put in."""
        changed = bytearray(body)
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(changed) + 1)
            changed[at : at + self._random.randrange(3)] = self._value()[: self._random.choice((1, 2, 9_000))]
        return bytes(changed)


def _quoted(value: bytes) -> bytes:
    return b"".join(b"%c" % b if chr(b).isalnum() and b < 128 else b"%%%02x" % b for b in value)


def _chunked(body: bytes) -> bytes:
    return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
