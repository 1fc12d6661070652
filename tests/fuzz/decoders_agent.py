"""Decoders of the agent: lines, streams, frames, heartbeats, metadata, mapping files, state files."""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.aggregate import last_values
from agent.forward.spool import record
from agent.mapping.config_file import MappingError
from agent.mapping.config_file import parse as parse_mapping
from agent.protocol.line import Limits
from agent.receive.http_guard import HttpGuard
from agent.receive.stream_splitter import LineSplitter, PayloadSplitter, StreamSplitter, UnixSplitter
from agent.runtime.state_dir import StateDir
from agent.settings import AgentSettings, AggregateSettings
from agent.wire import bundle, heartbeat, metadata
from agent.wire.heartbeat import Heartbeat, HeartbeatError
from agent.wire.metadata import MetadataError, MetricDescription
from tests.corpus.cases import groups
from tests.fuzz.harness import Decoder
from tests.support.cores.rows import CORES, new_core, take_rows
from tests.support.cores.scenario import MAPPING, START_MS

_STYLES: Final = Limits(name_tags=("influx", "librato", "signalfx"), max_name_bytes=500, max_tags=20)
_LINE_WORDS: Final = (
    *(b"|c", b"|g", b"|d", b"|ms", b"|h", b"|s", b"|m", b"|@0.5", b"|#k:v", b"|T1700000000", b"|c:x", b"|e:y"),
    *(b"_e{5,4}:", b"_sc|a|0", b"a:1|c\n", b"[k=v]", b",k=v", b"#k=v", b":1:2:3", b"+1", b"-0", b"1e-400", b"nan"),
)  # fmt: skip
_YAML_WORDS: Final = (
    *(b"- ", b": ", b"!!python/name:os.system ", b"!!int ", b"&a ", b"*a", b"<<: *a\n", b"? ", b"| \n", b"%YAML 1.1\n"),
    *(b"%YAML 99999999999.1\n---\n", b'"\\U00110000"', b"match: ", b"name: ", b"labels: {", b"$1", b"${9999999999}"),
    *(b"match_type: regex\n", b"buckets: [1, 2]", b"(a{1000}){1000}", b"(?P<a>x)", b"*.*.*.*.*.*", b"scale: .inf"),
    *(b"%TAG ! tag:\n", b"!<%ff>", b"\t", b"2026-02-30", b"0x", b"0b", b"1_000", b"60:60:60", b"\xc2\x85"),
)  # fmt: skip
_PROFILES: Final = b"""dogstatsd_mapper_profiles:
- name: airflow
  prefix: "airflow."
  mappings:
  - {match: "airflow.job.*.*", name: "airflow.job", tags: {job_type: "$1", job_name: "${2}"}}
  - {match: 'airflow\\.([a-z]+)\\.(?P<rest>.*)', match_type: regex, name: "airflow.$1", tags: {rest: "$rest"}}
"""
_RULES: Final = b"""defaults: {match_type: glob, glob_disable_ordering: true, timer_unit: s, buckets: [.1, 1]}
mappings:
- match: a.*.b
  name: a_$1
  help: text
  unit: bytes
  labels: {k: "${1}_x"}
  histogram_options: {buckets: [1, 2, 5]}
- {match: '(.+)\\.(.+)', match_type: regex, name: "$2", match_metric_type: observer, scale: 0.001}
"""
_HEADS: Final = b"airflow.job.x.y:1|c\na.q.b:1|ms|#k:v\nx.y:2|g\nb:1|d\nx:1|s"


def decoders(folder: Path) -> Iterator[Decoder]:
    """All of them; `folder` is for files."""
    packets = [case.packet for group in groups() for case in group.cases if len(case.packet) < 2_000]
    cores = [
        name for name in CORES if name == "python" or importlib.util.find_spec("agent.core._native.core")
    ]
    for name in cores:
        yield Decoder(f"lines_{name}", _lines(name), (), packets, _LINE_WORDS)
    yield Decoder("stream", _stream, (), _streams(packets), (*_LINE_WORDS, b"GET / HTTP/1.1\r\n"))
    yield Decoder("heartbeat", heartbeat.decode, (HeartbeatError,), _heartbeats())
    yield Decoder("bundle", bundle.decode, (bundle.BundleError,), [bundle.encode([b"a", b"", b"bc" * 20])])
    answers = [b'{"answers":[{"status":200,"rows":5},{"status":503,"error":"later","retry_after":1.5}]}']
    yield Decoder(
        "bundle_answers", lambda data: bundle.decode_answers(data, 2), (bundle.BundleError,), answers
    )
    yield Decoder("spool_record", _spool_record, (record.RecordError,), _spool_records())
    yield Decoder("metadata", metadata.decode, (MetadataError,), _metadata())
    mappings = [MAPPING.encode(), _PROFILES, _RULES]
    yield Decoder("mapping", _mapping, (MappingError,), mappings, _YAML_WORDS, cost=8)
    state = StateDir(str(folder / "state"))
    yield Decoder("state_file", _state_file(state), (), _state_files(state), cost=8)
    for name in cores:
        yield Decoder(f"last_values_{name}", _last_values(name), (), [_values()], cost=4)


def _lines(name: str) -> Callable[[bytes], object]:
    tight = AgentSettings(lines=_STYLES, aggregate=AggregateSettings(max_entries=500, max_series=200))
    cores = [new_core(name, AgentSettings()), new_core(name, tight)]
    taken = 0

    def take(data: bytes) -> None:
        nonlocal taken
        taken += 1
        for core in cores:
            core.add(data, START_MS + 10 * taken)
            if taken % 50 == 0:
                core.flush_all(START_MS + 10 * taken)
                take_rows(core)

    return take


def _stream(data: bytes) -> None:
    """Feed the bytes in pieces, whose lengths the data itself gives."""
    framers: tuple[StreamSplitter, ...] = (
        LineSplitter(64),
        PayloadSplitter(),
        UnixSplitter(64),
        HttpGuard(LineSplitter(64)),
    )
    for framer in framers:
        at = 0
        while at < len(data) and not framer.broken:
            step = 1 + data[at]
            framer.feed(data[at : at + step])
            at += step
        framer.end()


def _streams(packets: list[bytes]) -> list[bytes]:
    framed = [len(packet).to_bytes(4, "little") + packet for packet in packets[:20]]
    return [*packets[:20], *framed, b"".join(framed), b"GET / HTTP/1.1\r\nHost: x\r\n\r\na:1|c\n"]


def _heartbeats() -> list[bytes]:
    beat = Heartbeat(agent="a-1", epoch=17, org_id=1, project_id=2, flushed_until_ms=1_700_000_000_000)
    return [heartbeat.encode(beat), b'{"agent":"a","epoch":1,"later":[{}]}']


def _spool_record(data: bytes) -> None:
    head = record.decode_header(data[: record.HEADER_BYTES])
    record.decode_body(head, data[record.HEADER_BYTES :])


def _spool_records() -> list[bytes]:
    return [record.encode(record.EncodedFrame("a/1/2", b"frame" * 9, 3, 2, 40, 1_700_000_000_000))]


def _metadata() -> list[bytes]:
    described = {"a": MetricDescription("help", "bytes", (0.1, 1.0, 5.0)), "ä.b": MetricDescription("x")}
    return [metadata.encode(1, 2, described)]


def _mapping(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    mapper = parse_mapping(text).mapper(AgentSettings().lines)
    core = new_core("python", AgentSettings(), mapper)
    core.add(_HEADS, START_MS)
    core.close()


def _values() -> bytes:
    return last_values.encode({n: (n / 7, START_MS - n) for n in range(1, 40)})


def _state_files(state: StateDir) -> list[bytes]:
    state.write("whole", 1, _values())
    return [(state.path / "whole").read_bytes(), b""]


def _state_file(state: StateDir) -> Callable[[bytes], object]:
    def take(data: bytes) -> None:
        (state.path / "fuzzed").write_bytes(data)
        if (content := state.read("fuzzed", 1)) is not None:
            last_values.decode(content, 0, START_MS)

    return take


def _last_values(name: str) -> Callable[[bytes], object]:
    def take(data: bytes) -> None:
        core = new_core(name, AgentSettings(aggregate=AggregateSettings(max_series=20)))
        core.import_last_values(data, START_MS)
        core.add(b"a:+1|g\nb:-2|g", START_MS)
        core.flush_all(START_MS)
        take_rows(core)
        kept = core.export_last_values(START_MS)
        assert len(kept) % last_values.RECORD.size == 0
        core.close()

    return take
