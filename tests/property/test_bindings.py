"""The bindings of frames over restarts, against a model, with a last line that is torn anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.forward.spool.bindings import Binding, Bindings
from agent.wire.release import Release

NAMES = st.sampled_from(["web/1/1", "web/1/2", 'quote " and ü/1/3', "\udcff/1/4"])
URLS = st.sampled_from(["http://a:1", "http://b:2", ""])
BINDINGS = st.builds(Binding, URLS, st.integers(0, 9), st.booleans(), st.lists(URLS, max_size=2).map(tuple))
STEPS = st.tuples(NAMES, BINDINGS, st.sampled_from(["bind", "persist", "unbind", "restart"]))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS), cut=st.integers(0, 80))
def test_a_binding_on_disk_survives(steps: list[tuple[str, Binding, str]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bindings, disk, memory = Bindings(folder), dict[str, Binding](), dict[str, Binding]()
        for identity, binding, what in steps:
            match what:
                case "bind":
                    bindings.bind(identity, binding)
                    memory[identity] = binding
                case "persist":
                    bindings.persist(identity)
                    if identity in memory:
                        disk[identity] = memory[identity]
                case "unbind":
                    bindings.unbind(identity)
                    memory.pop(identity, None)
                case _:
                    bindings, memory = Bindings(folder), dict(disk)
            assert bindings.of(identity) == memory.get(identity)
        path = folder / "bindings"
        whole = path.read_bytes() if path.exists() else b""
        path.write_bytes(whole + b'["torn",["http://a:1",1,'[: cut % 24])
        again = Bindings(folder)
        assert {identity: again.of(identity) for identity in disk} == disk
        again.bind("next", Binding("http://a:1"))
        again.persist("next")
        assert Bindings(folder).of("next") == Binding("http://a:1")


def test_many_bindings_are_seldom_written_anew(tmp_path: Path) -> None:
    """While an indexer is away all count; each one used to write the whole file beyond 1 MiB."""
    bindings, rewritten, at = Bindings(tmp_path), 0, 0
    for number in range(4_000):
        bindings.bind(f"web/1/{number}", Binding("http://indexer:8126/" + "x" * 1_000))
        bindings.persist(f"web/1/{number}")
        before, at = at, (tmp_path / "bindings").stat().st_ino
        rewritten += before not in (0, at)
    assert rewritten <= 3, "each time it is twice as large"
    assert Bindings(tmp_path).of("web/1/0") == bindings.of("web/1/0")


def test_a_binding_of_an_older_agent(tmp_path: Path) -> None:
    """It knows not which indexers had the frame before, and whether the journals of all of them are lost."""
    (tmp_path / "bindings").write_text('["a/1/1",["http://a:1",2,true]]\n["a/1/2",["http://a:1",2,false]]\n')
    lost, kept = (Bindings(tmp_path).of(f"a/1/{n}") for n in (1, 2))
    assert lost is not None
    assert kept is not None
    assert (lost.release({}), kept.release({})) == (Release(2, 0b11), Release(2))
    assert lost.released().release({"http://a:1": False}) == Release(3, 0b011)
    assert kept.released().release({"http://a:1": True, "http://b:1": False}) == Release(3, 0b100)


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    for number in range(20_000):
        bindings.bind(f"web/1/{number}", Binding("http://indexer:8126"))
        bindings.persist(f"web/1/{number}")
        if number >= 5:
            bindings.unbind(f"web/1/{number - 5}")
    assert (tmp_path / "bindings").stat().st_size < 1 << 20
    again = Bindings(tmp_path)
    assert all(again.of(f"web/1/{n}") for n in range(19_995, 20_000))
    again.forget_recovered()
    for number in range(19_995, 20_000):
        again.unbind(f"web/1/{number}")
    assert again.urls() == set()


UNKNOWN = Binding(hop=5)


def test_frames_of_earlier_files_may_have_been_sent(tmp_path: Path) -> None:
    """Files from the noted one on have bindings, over restarts and when the file is written anew."""
    bindings = Bindings(tmp_path)
    bindings.cover(7)
    for number in range(2_000):
        bindings.bind(f"web/1/{number}", Binding("http://indexer:8126"))
        bindings.persist(f"web/1/{number}")
    for number in range(2_000):
        bindings.unbind(f"web/1/{number}")
    assert (tmp_path / "bindings").stat().st_size < 1_000, "it was written anew"
    again = Bindings(tmp_path)
    again.cover(9)
    found = [again.before_sending("old/1/1", file) for file in (6, 7, None)]
    assert found == [UNKNOWN, Binding(), Binding()]
    again.bind("old/1/1", Binding("http://a:1"))
    assert again.before_sending("old/1/1", 6) == Binding("http://a:1")


def test_files_of_an_agent_that_lost_its_bindings(tmp_path: Path) -> None:
    path = tmp_path / "bindings"
    Bindings(tmp_path).cover(1)
    path.write_text(path.read_text() + '["web/1/1",["http\n["web/1/2",["http://a:1"]]\n')
    damaged = Bindings(tmp_path)
    damaged.cover(9)
    assert damaged.before_sending("web/1/1", 8) == UNKNOWN
    assert damaged.before_sending("web/1/2", 8) == Binding("http://a:1")
    path.unlink()
    deleted = Bindings(tmp_path)
    deleted.cover(9)
    assert deleted.before_sending("web/1/2", 8) == UNKNOWN
    deleted.uncover()
    assert not path.exists(), "frames are sent without bindings from now on"
