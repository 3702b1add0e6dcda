"""Replies that travel with an output through DVC, so that a clone without a key can replay a stage.

A stage writes the replies it used to a file beside its output (`export_replies`), an output like any
other. When the stage runs again DVC has deleted that file, but the version that `dvc.lock` names is
still in DVC's cache, where `dvc pull` puts it in a fresh clone; the stage reads it from there
(`previous_output`) into the store (`import_replies`) before it makes a call.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from knowtuning.core.params import read_yaml
from knowtuning.core.storage import atomic_write
from knowtuning.teacher.openai.store import Response, Store

_CHUNK = 500
_ROW = TypeAdapter(Response)


def export_replies(store: Store, keys: Iterable[str], path: Path) -> int:
    """Write the replies to `keys` as JSONL sorted by key, atomically; returns their number.

    Raises ValueError when a key has no reply: the file would not replay the stage.
    """
    written = 0
    ordered = iter(sorted(set(keys)))
    with atomic_write(path) as stream:
        while chunk := list(itertools.islice(ordered, _CHUNK)):
            found = store.find(chunk)
            for key in chunk:
                if key not in found:
                    raise ValueError(f"{store.path}: no reply to the call {key}; run the stage again")
                row = asdict(found[key])
                if not found[key].failure:
                    del row["failure"]
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                written += 1
    return written


def import_replies(store: Store, path: Path) -> int:
    """Put the replies of an exported file into the store; returns how many were new.

    Raises ValueError naming file and line when a line is not a reply; nothing is imported then.
    """
    before = store.count()
    with path.open(encoding="utf-8") as stream, store.transaction():
        for number, line in enumerate(stream, 1):
            try:
                store.put(_ROW.validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "line"
                raise ValueError(f"{path}:{number}: {where}: {first['msg']}; expected a reply") from error
    return store.count() - before


def previous_output(root: Path, out: Path) -> Path | None:
    """Where DVC keeps the version of `out` that dvc.lock names, or None where there is none.

    root: the folder of dvc.lock. out: the output's path as dvc.yaml writes it, relative to root.
    """
    if (root / out).is_file():
        return root / out
    lock = root / "dvc.lock"
    md5 = _locked_md5(lock, out.as_posix()) if lock.is_file() else None
    if md5 is None:
        return None
    kept = _cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]
    return kept if kept.is_file() else None


def _locked_md5(lock: Path, out: str) -> str | None:
    for stage in (read_yaml(lock).get("stages") or {}).values():
        for entry in stage.get("outs", []):
            if entry.get("path") == out:
                return str(entry["md5"])
    return None


def _cache_folder(root: Path) -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{root}: `dvc cache dir` failed: {' '.join(done.stderr.split())}")
    return root / done.stdout.strip()
