"""The store: keys, claims, and replies that travel."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.teacher.openai.store import (
    Response,
    Store,
    export_replies,
    import_replies,
    previous_output,
    request_key,
)
from tests.support.checkout import CODE
from tests.support.fault_server import FaultServer
from tests.support.shell import run
from tests.support.small_project import new_clone

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
CALL = {
    "endpoint": "http://127.0.0.1/v1",
    "model": "m",
    "messages": MESSAGES,
    "sampling": {"temperature": 0.0, "max_tokens": 16},
    "schema": {"type": "object"},
    "sample": 0,
}


def response(key: str, text: str = "{}") -> Response:
    return Response(key, "extract", "m", text, 10, 5, row="r", prompt="Å?", time="2026-01-01", served="m-1")


def put(store: Store, *responses: Response) -> None:
    with store.transaction():
        for each in responses:
            store.put(each)


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://127.0.0.2/v1"},
        {"model": "n"},
        {"messages": [{"role": "system", "content": "t"}, MESSAGES[1]]},
        {"messages": [MESSAGES[0], {"role": "user", "content": "u "}]},
        {"messages": MESSAGES[::-1]},
        {"messages": [{"role": "user", "content": "s"}, MESSAGES[1]]},
        {"sampling": {"temperature": 0.1, "max_tokens": 16}},
        {"sampling": {"temperature": 0.0, "max_tokens": 17}},
        {"sampling": {"temperature": 0.0, "max_tokens": 16, "seed": 1}},
        {"schema": {"type": "array"}},
        {"sample": 1},
    ],
)
def test_everything_that_determines_a_reply_is_in_its_key(change: dict) -> None:
    assert request_key(**{**CALL, **change}) != request_key(**CALL)


def test_a_key_is_the_same_for_ever() -> None:
    """A golden key: if it changes, every store in the world is worth nothing.

    sha256 of the JSON list ["chat", endpoint, model, messages, sampling, schema, sample], keys sorted, no
    blanks; computed with sha256sum.
    """
    assert request_key(**CALL) == "1420420dc1af8ba7f482936c56c4f13321bd31a9f4649451d284f62670a77612"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5, unique=True))
def test_messages_never_share_a_key(pairs: list[tuple[str, str]]) -> None:
    keys = {
        request_key(**{**CALL, "messages": [{"role": "user", "content": a}, {"role": "user", "content": b}]})
        for a, b in pairs
    }
    assert len(keys) == len(pairs)


def test_claims_exclude_live_owners_and_ignore_dead_ones(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    first, second = Store(path), Store(path)
    with first.transaction():
        assert first.claim("k") is True
        assert first.claim("k") is False
    with second.transaction():
        assert second.claim("k") is False
    with first.transaction():
        first.release("k")
    with second.transaction():
        assert second.claim("k") is True
    put(second, response("k"))
    with first.transaction():
        assert first.claim("k") == response("k")
    second.close()
    first.close()


def test_the_claims_of_a_dead_process_count_for_nothing(tmp_path: Path) -> None:
    """Also one whose lock file is gone; a live one's count."""
    code = (
        "import os, sys; from pathlib import Path; from knowtuning.teacher.openai.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.transaction(): store.claim('k'), store.claim('l')\n"
        "print(store.owner, flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=CODE)
    assert other.stdout is not None
    owner = other.stdout.readline().decode().strip()
    store = Store(path)
    with store.transaction():
        assert store.claim("k") is False
    other.kill()
    other.wait()
    other.communicate()
    with store.transaction():
        assert store.claim("k") is True
    assert not (tmp_path / f"s.sqlite.{owner}.lock").exists()
    with store.transaction():
        assert store.claim("l") is True
    store.close()
    assert not list(tmp_path.glob("*.lock"))


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        put(store, response("k"), Response("l", "extract", "m", None, 1, 1))  # type: ignore[arg-type]
    assert store.find(["k"]) == {}


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at " * 100)
    (tmp_path / "folder.sqlite").mkdir()
    # As on a full disk: moved away, what was paid would be paid again.
    with pytest.raises(OSError, match=r"folder\.sqlite: .* cannot be opened .*; free disk space"):
        Store(tmp_path / "folder.sqlite")
    with pytest.raises(ValueError, match=r"s\.sqlite: not a usable reply store"):
        Store(path)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(ValueError, match=r"version 9; this program reads up to 3; update it, or"):
        Store(newer)
    older = tmp_path / "older.sqlite"
    with sqlite3.connect(older) as db:
        db.execute("CREATE TABLE batches (id TEXT)")
        db.execute("INSERT INTO batches VALUES ('batch-0')")
    db.close()
    with pytest.raises(ValueError, match=r"holds open batches of an earlier version; collect them"):
        Store(older)


def test_exported_replies_come_back_byte_for_byte(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a.sqlite"), Store(tmp_path / "b.sqlite")
    rows = [response(f"{number:064x}", f'{{"text": "Å \\n {number}"}}') for number in range(1200)]
    put(store, *rows)
    keys = [row.key for row in rows[::-1] if row.key != rows[7].key]
    export_replies(store, [*keys, *keys], tmp_path / "x.jsonl")
    for _ in range(2):
        import_replies(other, (tmp_path / "x.jsonl").read_text("utf-8").splitlines(), "x")
        assert len(list(other.all())) == 1199
    assert other.find([rows[7].key, rows[8].key]) == {rows[8].key: rows[8]}
    export_replies(other, keys, tmp_path / "y.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"no reply to the call {rows[7].key}"):
        export_replies(other, [rows[7].key], tmp_path / "z.jsonl")
    assert not (tmp_path / "z.jsonl").exists()


def test_an_accepted_reply_is_replaced_by_nothing_and_a_failure_by_any(tmp_path: Path) -> None:
    """As where an older export, or one of a clone that had bad luck, is loaded over what was paid since."""
    store = Store(tmp_path / "s.sqlite")
    good, other = response("k", '{"text": "good"}'), response("k", '{"text": "other"}')
    failed, again = replace(good, text="no", failure="no JSON"), replace(good, text="", failure="refused")
    for row, kept in ((failed, failed), (again, again), (good, good), (failed, good), (other, good)):
        put(store, row)
        assert store.find(["k"]) == {"k": kept}


def test_a_torn_export_is_named_and_imports_nothing(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a.sqlite"), Store(tmp_path / "b.sqlite")
    put(store, response("a"), response("b"))
    path = tmp_path / "x.jsonl"
    export_replies(store, ["a", "b"], path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"x\.jsonl:2: .*expected a reply"):
        import_replies(other, path.read_text().splitlines(), path)
    assert not list(other.all())


STAGE = """
import sys
from pathlib import Path
from tests.support.openai_setup import mixed, teacher_at
out = Path("data/replies.jsonl")
assert not out.exists()  # DVC has deleted it
teacher = teacher_at(sys.argv[1], Path(".cache"), key=None)
teacher.load_replies(out)
pairs = list(teacher.run(mixed(int(sys.argv[2]))))
Path("data/out.txt").write_text("".join(str(outcome) for _, outcome in pairs))
teacher.save_replies(out)
Path("usage.txt").write_text(f"{teacher.totals.paid} {teacher.totals.cached}")
"""
PIPELINE = """
stages:
  ask:
    cmd: {python} stage.py {url} {count}
    outs: [data/out.txt, data/replies.jsonl]
"""


@pytest.mark.slow
def test_a_fresh_clone_replays_after_dvc_pull(tmp_path: Path) -> None:
    """A real DVC repository, its remote and a clone: the stage runs again there and makes no call."""
    first, clone = tmp_path / "first", tmp_path / "clone"
    first.mkdir()
    with FaultServer() as server:
        for command in ("git init -q", "dvc init -q", f"dvc remote add -q -d far {tmp_path / 'far'}"):
            run(first, *command.split())
        (first / "stage.py").write_text(STAGE)
        pipeline = PIPELINE.replace("{python}", sys.executable).replace("{url}", server.url)
        (first / "dvc.yaml").write_text(pipeline.replace("{count}", "6"))
        (first / ".gitignore").write_text("/data\n/.cache\n/usage.txt\n")
        (first / "data").mkdir()
        run(first, "dvc", "repro", "-q", **CODE)
        run(first, "git", "add", "-A")
        run(first, "git", "commit", "-q", "-m", "one")
        run(first, "dvc", "push", "-q")
        assert (first / "usage.txt").read_text() == "6 0"

        new_clone(first, clone)
        run(clone, "dvc", "pull", "-q")
        before = (clone / "data" / "out.txt").read_bytes()
        run(clone, "dvc", "repro", "-q", "--force", **CODE)
        assert (clone / "usage.txt").read_text() == "0 6"
        assert (clone / "data" / "out.txt").read_bytes() == before
        # Two more rows: two calls.
        (clone / "dvc.yaml").write_text(pipeline.replace("{count}", "8"))
        run(clone, "dvc", "repro", "-q", **CODE)
        assert (clone / "usage.txt").read_text() == "2 6"
        assert len(server.calls) == 8


def test_without_a_previous_output_there_is_nothing_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert previous_output(Path("data/replies.jsonl")) == []
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert previous_output(Path("data/replies.jsonl")) == []
