"""Backfill: lines of each format as samples, how a file is cut, who waits, and the state file."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

import meterhouse
from agent.aggregate.aggregator import Aggregator
from agent.backfill import chunks as cutting
from agent.backfill.formats import FORMATS, Format, format_of
from agent.backfill.job import EPOCH, Job
from agent.backfill.samples import LeftOut
from agent.backfill.sender import OrderedSender, expired_rows
from agent.backfill.state_file import Progress, ProgressError, load, save
from agent.cli.progress_bar import ProgressBar
from agent.forward.channel import Answer, Outcome
from agent.forward.spool.record import EncodedFrame
from agent.protocol.line import Kind, Limits
from agent.settings import AgentSettings, AggregateSettings, ForwardSettings

NEWEST_MS = 1_000_000_000_000
Read = tuple[str, str, dict[str, str], float, int]


def read(
    form: Format, text: str, settings: AgentSettings | None = None, *, end: bool = True
) -> tuple[list[Read], list[str], list[str]]:
    """Return samples, reasons of bad lines, and reasons of lines that are left out."""
    settings = settings or AgentSettings()
    converter = FORMATS[form](settings, NEWEST_MS)
    aggregator = Aggregator(settings.aggregate, settings.lines)
    samples, bad, left = list[Read](), list[str](), list[str]()
    found = [one for line in text.encode().split(b"\n") for one in converter.convert(line, aggregator)]
    for one in (*found, *(converter.end() if end else ())):
        if isinstance(one, LeftOut):
            (bad if one.bad else left).append(one.reason)
        else:
            head = one.line.head
            value = one.line.values[0] if one.line.values else float(one.line.member)
            samples.append((head.kind.value, head.name, dict(head.tags), value, one.time_ms))
    return samples, bad, left


def openmetrics(text: str, settings: AgentSettings | None = None) -> tuple[list[Read], list[str], list[str]]:
    return read("openmetrics", f"{text}\n# EOF\n", settings)


def test_statsd_needs_a_time_and_names_what_is_wrong() -> None:
    samples, bad, left = read(
        "statsd", "a:1|c|#k:v|T10\nb:-2|g|T11\nc:1|c\nd:x|c|T1\n\n_sc|up|0\ne:1|ms|T12:2|c|T13\nf:7|s|T14\r"
    )
    assert samples == [
        ("counter", "a", {"k": "v"}, 1.0, 10_000),
        ("gauge", "b", {}, -2.0, 11_000),  # with a time it is not a delta
        ("set", "f", {}, 7.0, 14_000),
    ]
    assert bad == ["no_timestamp", "bad_value", "bad_timestamp"]
    assert left == ["service_check"]


def test_counters_of_openmetrics_become_differences() -> None:
    text = "# TYPE a counter\n" + "\n".join(
        f'a_total{{k="v"}} {value} {at}'
        for value, at in ((100, 10), (130, 20), (130, 25.5), (7, 30), (9, 40))
    )
    samples, bad, left = openmetrics(text)
    assert [(value, at) for *_, value, at in samples] == [
        (30.0, 20_000), (0.0, 25_500), (7.0, 30_000), (2.0, 40_000),
    ]  # fmt: skip
    assert {(kind, name, *tags.items()) for kind, name, tags, *_ in samples} == {
        ("counter", "a_total", ("k", "v"))
    }
    assert (bad, left) == ([], ["base"])


def test_each_series_has_its_own_base_and_order() -> None:
    samples, bad, left = openmetrics(
        '# TYPE a counter\na_total{k="1"} 5 10\na_total{k="2"} 1 10\na_total{k="1"} 6 20\n'
        'a_total{k="1"} 9 20\na_total{k="1"} 9 15\na_total{k="2"} 4 12\na_total{k="1"} 10 30'
    )
    assert [(tags["k"], value) for _, _, tags, value, _ in samples] == [("1", 1.0), ("2", 3.0), ("1", 4.0)]
    assert bad == ["out_of_order"] * 2
    assert left == ["base"] * 2


def test_histograms_and_summaries_are_counters() -> None:
    text = "# TYPE h histogram\n# TYPE s summary\n"
    for at, count, total in ((10, 4, 2.5), (20, 10, 8.0)):
        text += (
            f'h_bucket{{le="0.1"}} {count - 3} {at}\n'
            f'h_bucket{{le="+Inf"}} {count} {at} # {{trace="x"}} 0.05\n'
            f"h_count {count} {at}\nh_sum {total} {at}\nh_created 1 {at}\n"
            f's{{quantile="0.5"}} {total} {at}\ns_count {count} {at}\ns_sum {total} {at}\n'
        )
    samples, bad, left = openmetrics(text.rstrip())
    assert [(kind, name, tags, value) for kind, name, tags, value, _ in samples] == [
        ("gauge", "s", {"quantile": "0.5"}, 2.5),
        ("counter", "h_bucket", {"le": "0.1"}, 6.0),
        ("counter", "h_bucket", {"le": "+Inf"}, 6.0),
        ("counter", "h_count", {}, 6.0),
        ("counter", "h_sum", {}, 5.5),
        ("gauge", "s", {"quantile": "0.5"}, 8.0),
        ("counter", "s_count", {}, 6.0),
        ("counter", "s_sum", {}, 5.5),
    ]
    assert bad == []
    assert sorted(left) == ["base"] * 6 + ["created"] * 2 + ["exemplar"] * 2


def test_gauges_of_openmetrics_are_as_they_are() -> None:
    samples, bad, _ = openmetrics(
        "# TYPE g gauge\n# HELP g text\n# UNIT g bytes\ng -1.5e3 10.25\nnone 1 10\n"
        '# TYPE i info\ni_info{version="1"} 1 10\n# TYPE q gaugehistogram\nq_gsum 3 10\n'
        '# TYPE st stateset\nst{st="a"} 1 10\n# TYPE u unknown\nu{e="",t="a\\"b\\\\c\\nd,}"} 2 10'
    )
    assert bad == []
    assert [(kind, name, tags, value, at) for kind, name, tags, value, at in samples] == [
        ("gauge", "g", {}, -1500.0, 10_250),
        ("gauge", "none", {}, 1.0, 10_000),
        ("gauge", "i_info", {"version": "1"}, 1.0, 10_000),
        ("gauge", "q_gsum", {}, 3.0, 10_000),
        ("gauge", "st", {"st": "a"}, 1.0, 10_000),
        ("gauge", "u", {"t": 'a"b\\c\nd,}'}, 2.0, 10_000),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("g 1", "no_timestamp"),
        ("g NaN 10", "not_finite"),
        ("g +Inf 10", "not_finite"),
        ("g 0x1 10", "bad_value"),
        ("g 1 -10", "bad_timestamp"),
        ("g 1 tomorrow", "bad_timestamp"),
        ("g 1 2 3", "bad_syntax"),
        ('g{k="1",k="2"} 1 10', "bad_syntax"),
        ('g{k="1} 1 10', "bad_syntax"),
        ("g{k=1} 1 10", "bad_syntax"),
        ("1g 1 10", "bad_syntax"),
        ("# TYPE a", "bad_type"),
        ("h 1 10", "unexpected_sample"),
        ("g 1 1000000001", "in_the_future"),
        ("x" * 600 + " 1 10", "name_too_long"),
        ("g 1 10 " + "x" * 70_000, "line_too_long"),
    ],
)
def test_bad_lines_of_openmetrics(line: str, reason: str) -> None:
    samples, bad, _ = openmetrics(f"# TYPE g gauge\n# TYPE h histogram\n{line}\ng 1 10")
    assert bad == [reason]
    assert len(samples) == 1


def test_a_sample_of_the_future_leaves_its_counter_as_it_was() -> None:
    samples, bad, _ = openmetrics("# TYPE a counter\na_total 1 10\na_total 9 2000000000\na_total 4 20")
    assert [value for *_, value, _ in samples] == [3.0]
    assert bad == ["in_the_future"]


def test_a_name_that_begins_as_a_family_has_no_type() -> None:
    samples, bad, _ = openmetrics("# TYPE a counter\n# TYPE g gauge\na_count 2 10\ng_total 3 10")
    assert [(kind, name) for kind, name, *_ in samples] == [("gauge", "a_count"), ("gauge", "g_total")]
    assert bad == []


def test_the_end_of_openmetrics_is_checked() -> None:
    assert read("openmetrics", "g 1 10")[1] == ["no_eof"]
    assert read("openmetrics", "# EOF\ng 1 10")[1] == ["after_eof"]


def test_series_of_counters_are_bounded() -> None:
    settings = AgentSettings(aggregate=AggregateSettings(max_total_series=2))
    lines = "\n".join(f'a_total{{k="{k}"}} {at} {at}' for at in (10, 20) for k in range(4))
    samples, bad, left = openmetrics(f"# TYPE a counter\n{lines}", settings)
    assert [tags for _, _, tags, *_ in samples] == [{"k": "0"}, {"k": "1"}]
    assert bad == ["too_many_series"] * 4
    assert left == ["base"] * 2


def test_csv() -> None:
    samples, bad, left = read(
        "csv",
        '\ufeffTimestamp,name,value,type,tags,host\r\n10,a,2,c,"k:v,x:1",h\n10.5,a,3,gauge,,h\n'
        '1,"x, y",5,set,bare,h\n1,a,1,c\n1,a,1,q,,h\n,a,1,c,,h\n'
        '1,a,one,c,,h\n1,,1,c,,h\n1,a,,c,,h\n1,a,1,c,"x,h',
    )
    assert samples == [
        ("counter", "a", {"k": "v", "x": "1"}, 2.0, 10_000),
        ("gauge", "a", {}, 3.0, 10_500),
        ("set", "x, y", {"bare": "true"}, 5.0, 1_000),
    ]
    assert left == ["column 'host'"]
    assert bad == [
        "bad_columns", "unknown_type", "no_timestamp", "bad_value", "empty_name", "empty_value", "bad_csv",
    ]  # fmt: skip
    assert read("csv", "name,value\na,1")[1] == ["no_header"] * 3


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a", "statsd"),
        ("a.om.gz", "openmetrics"),
        ("A.PROM", "openmetrics"),
        ("a.csv", "csv"),
        ("-", "statsd"),
    ],
)
def test_the_name_says_the_format(name: str, form: str) -> None:
    assert format_of(name) == form


def test_chunks_are_whole_lines_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MAX_BYTES", 20)
    monkeypatch.setattr(cutting, "MAX_LINE_BYTES", 30)
    lines = [b"1", b"2", b"3", b"4" * 25, b"5" * 31, b"6" * 70, b"", b"8"]
    got = list(cutting.chunks(io.BytesIO(b"\n".join(lines)), 3))
    assert [(c.number, c.first, c.lines) for c in got] == [
        (1, 1, [b"1", b"2", b"3"]),
        (2, 4, [b"4" * 25]),
        (3, 5, [None]),
        (4, 6, [None]),
        (5, 7, [b"", b"8"]),
    ]


class Answers:
    """A delivery that gives prepared answers, and notes each try."""

    max_frames = 2

    def __init__(self, *answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.tried: list[list[str]] = []

    def send(self, parcels: Sequence[EncodedFrame]) -> list[Answer]:
        self.tried.append([parcel.identity for parcel in parcels])
        return list(self._answers.pop(0))


def test_sends_until_each_frame_has_a_final_answer() -> None:
    ok, gone = Answer(Outcome.ACCEPTED, 200), Answer(Outcome.REFUSED, 400)
    busy, denied = Answer(Outcome.BUSY, 503, "full", 7.0), Answer(Outcome.DENIED, 401)
    delivery = Answers([denied, denied], [ok, busy], [busy, busy], [gone, ok])
    slept, said = list[float](), list[str]()
    sender = OrderedSender(ForwardSettings(), delivery, said.append, slept.append, random.Random(1))
    assert sender.send([EncodedFrame(name, b"", 1) for name in "abc"]) == [ok, gone, ok]
    assert delivery.tried == [["a", "b"], ["a", "b"], ["b", "c"], ["b", "c"]]
    assert len(slept) == 3
    assert slept[0] <= 0.25
    assert slept[1:] == [pytest.approx(7.0)] * 2
    assert said == [
        "the indexer asks for credentials: set agent.forward.token, token_file or tls.cert: 401",
        "the indexer or its store is busy or down: 503: full",
    ]


def test_requests_are_as_large_as_is_answered_in_time() -> None:
    """Each frame takes the indexer 60 ms: three in one request are in time, four are not."""
    now_s = [0.0]

    class Slow:
        def __init__(self) -> None:
            self.max_frames = 16
            self.sizes: list[int] = []

        def send(self, parcels: Sequence[EncodedFrame]) -> list[Answer]:
            self.sizes.append(len(parcels))
            now_s[0] += 0.06 * len(parcels)
            return [Answer(Outcome.ACCEPTED, 200)] * len(parcels)

    slow = Slow()
    sender = OrderedSender(ForwardSettings(), slow, print, clock_s=lambda: now_s[0])
    sender.send([EncodedFrame(str(n), b"", 1) for n in range(22)])
    assert slow.sizes == [2, 3, 4, 2, 3, 4, 2, 2]
    slow.sizes.clear()
    sender.send([EncodedFrame("alone", b"", 1)])
    assert slow.sizes == [1], "fewer than it may have say nothing"


def test_expired_rows_are_in_either_form_of_an_answer() -> None:
    assert expired_rows(Answer(Outcome.ACCEPTED, 200, expired=3)) == 3
    assert expired_rows(Answer(Outcome.ACCEPTED, 200, '{"rows": 5, "expired": 2}')) == 2
    assert expired_rows(Answer(Outcome.ACCEPTED, 200, "fine")) == 0
    assert expired_rows(Answer(Outcome.REFUSED, 400, '{"expired": 2}')) == 0


def test_the_state_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert load(path) is None
    progress = Progress(sha256="a", created_ms=1, settings="b", url="c", chunks=4, finished=True)
    save(path, progress)
    assert load(path) == progress
    for damaged in (b"", b"{}", b"[1", path.read_bytes().replace(b'"version": 2', b'"version": 3')):
        path.write_bytes(damaged)
        with pytest.raises(ProgressError, match="expected"):
            load(path)


def test_a_file_begun_by_an_earlier_version_is_cut_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text(
        '{"version": 1, "sha256": "a", "created_ms": 1800000000000, "settings": "b", "url": "c", "chunks": 1}'
    )
    progress = load(path)
    assert progress is not None
    assert (progress.epoch, progress.chunks) == (1, 1)
    sent: list[str] = []

    class Sends:
        def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
            sent.extend(frame.identity for frame in frames)
            return [Answer(Outcome.ACCEPTED, 200)] * len(frames)

    job = Job(AgentSettings(), "statsd", progress, Sends(), save=lambda _: None, named=lambda *_: None)
    for _ in job.run(io.BytesIO(b"a:1|c|T1700000000\n" * 20_001)):
        pass
    assert sent == ["backfill/a/1/2", "backfill/a/1/3"]  # 10,000 lines each, the first was answered


def run(path: Path, *options: str) -> int:
    return meterhouse.main(["backfill", str(path), *options])


def test_a_state_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, state = tmp_path / "old", tmp_path / "old.backfill"
    path.write_text("bad\n")
    assert run(path) == 3
    assert f"{path}:1: no_value" in capsys.readouterr().err
    assert run(path) == 0  # all was sent before
    assert "already sent" in capsys.readouterr().out
    for name, value, said in (
        ("METERHOUSE_AGENT__TAGS", '{"a": "b"}', "settings"),
        ("METERHOUSE_AGENT__FORWARD__URL", "http://127.0.0.1:9", "indexer"),
    ):
        with monkeypatch.context() as environ:
            environ.setenv(name, value)
            assert run(path) == 2
        assert said in capsys.readouterr().err
    path.write_text("bad\nbad\n")
    assert run(path) == 2
    assert "a file with other content" in capsys.readouterr().err
    path.write_text("bad\n")
    state.write_text(state.read_text().replace(f'"epoch": {EPOCH}', '"epoch": 99'))
    assert run(path) == 2
    assert f"epoch 99: expected {EPOCH} at most" in capsys.readouterr().err
    assert run(path, "--state", str(tmp_path / "other")) == 3
    assert json.loads(state.read_bytes())["finished"]


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none") == 1
    assert "none: No such file" in capsys.readouterr().err
    path = tmp_path / "old.gz"
    path.write_bytes(gzip.compress(random.Random(1).randbytes(100_000))[:-5_000])
    assert run(path) == 1
    assert f"{path}: " in capsys.readouterr().err
    assert not json.loads((tmp_path / "old.gz.backfill").read_bytes())["finished"]


def test_the_first_bad_lines_are_named_and_all_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old"
    path.write_text("x\n" * 25 + f"a:1|c|T{2**40}\n_sc|up|0\n")
    assert run(path) == 3
    said = capsys.readouterr()
    assert said.err.count("no_value") == 10
    assert "bad lines: 25 no_value" in said.out
    assert "bad lines: 1 in_the_future" in said.out
    assert "skipped: 1 service_check" in said.out


def test_parts_left_out_and_lines_of_overflow_are_counted() -> None:
    settings = AgentSettings(aggregate=AggregateSettings(max_metric_series=1))
    progress = Progress(sha256="a", created_ms=NEWEST_MS, settings="", url="")
    sends = Answers([Answer(Outcome.ACCEPTED, 200, '{"rows": 2, "expired": 1}')])
    job = Job(settings, "statsd", progress, sends, save=lambda _: None, named=lambda *_: None)
    assert list(job.run(io.BytesIO(b"a:1|c|zz|T10\na:2|c|#k:v|T10"))) == [None]
    assert job.ignored == {"unknown_field": 1}
    assert job.overflow_lines == 1
    assert (progress.rows, progress.lines, progress.expired_rows) == (2, 2, 1)


def test_a_frame_of_many_days_goes_alone() -> None:
    progress = Progress(sha256="a", created_ms=NEWEST_MS, settings="", url="")
    saved = list[int]()
    sends = Answers(*[[Answer(Outcome.ACCEPTED, 200)] * n for n in (2, 1, 1)])
    job = Job(
        AgentSettings(),
        "statsd",
        progress,
        sends,
        save=lambda now: saved.append(now.chunks),
        named=lambda *_: None,
        cut=lambda *_: (
            cutting.Chunk(n, n, [b"a:1|c|T0", b"a:1|c|T%d" % last_s])
            for n, last_s in enumerate((5, 90 * 86_400, 100 * 86_400, 7), 1)
        ),
    )
    assert len(list(job.run(io.BytesIO()))) == 4
    assert [len(tried) for tried in sends.tried] == [2, 1, 1]
    assert saved == [2, 3, 4]


def test_standard_input_has_a_state_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for code, said in ((3, "-:2: no_value"), (0, "already sent")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\nbad\n")))
        assert meterhouse.main(["backfill", "-"]) == code
        assert said in "".join(capsys.readouterr())
    (state,) = tmp_path.iterdir()
    progress = load(state)
    assert progress is not None
    assert state.name == f"stdin-{progress.sha256[:16]}.backfill"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "shown"),
    [
        (Terminal(), ["\r[" + "#" * 15 + "." * 15 + "]  50%  1,000 lines ", "a:1: bad\n"]),
        (io.StringIO(), [" 50%  1,000 lines\na:1: bad\n"]),
    ],
)
def test_progress_is_shown_from_time_to_time(out: io.StringIO, shown: list[str]) -> None:
    now_s = 100.0
    bar = ProgressBar(200, out, lambda: now_s)
    bar.progress(50, 500)
    assert not out.getvalue()
    now_s += 10.0
    for _ in range(2):
        bar.progress(100, 1_000)
    bar.say("a:1: bad")
    text = out.getvalue()
    assert all(part in text for part in shown)
    assert text.count("50%") == 1
    assert text.endswith("a:1: bad\n")


def test_lines_are_aggregated_as_the_agent_does() -> None:
    aggregator = Aggregator(AggregateSettings(), Limits(), {"host": "a"})
    for text, at in ((b"a:1:2|c|@0.5|T5", 5_000), (b"a:4|c|T7", 7_000), (b"g:3|g|T12", 12_000)):
        (line,) = aggregator.parse(text)
        assert not isinstance(line, LeftOut)
        aggregator.add_line(line, at)  # type: ignore[arg-type]  # a line
    first, second = aggregator.flush_all(20_000)
    assert [(b.start_s, [(s.kind, s.tags) for s in b.cells]) for b in (first, second)] == [
        (0, [(Kind.COUNTER, (("host", "a"),))]),
        (10, [(Kind.GAUGE, (("host", "a"),))]),
    ]
    assert [cell.value for cell in first.cells.values()] == [10.0]  # type: ignore[union-attr]  # a counter's
    assert [cell.last_ms for cell in second.cells.values()] == [12_000]  # type: ignore[union-attr]
