"""Every stage from prepare to evaluate on a very small world, twice: equal bytes, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.copies import commands, copy_tracked, set_params
from knowtuning.core.records import Example, Pair, Rejected, read_jsonl
from knowtuning.core.storage import digest_folder
from tests.support.commands import TINY
from tests.support.shell import run


def run_all(folder: Path) -> None:
    copy_tracked(folder)
    set_params(folder / "params.yaml", TINY)
    for _, command in commands(folder):
        run(folder, "sh", "-c", command, DVC_ROOT=str(folder), TQDM_DISABLE="1")


@pytest.mark.slow
def test_two_runs_write_the_same_bytes_and_lose_no_row(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run_all(one)
    run_all(two)
    for part in ("data", "models", "metrics", "plots", "report"):
        assert digest_folder(one / part) == digest_folder(two / part), part
    prepared = one / "data/prepared"
    counts = json.loads((one / "metrics/data.json").read_text())["train"]
    rejected = read_jsonl(prepared / "train.rejected.jsonl", Rejected)
    assert counts["read"] == 36 == len(read_jsonl(prepared / "train.jsonl", Example)) + len(rejected)
    pairs = read_jsonl(one / "data/knowledge/pairs.jsonl", Pair)
    assert {pair.aspect for pair in pairs} == {"completeness", "factuality", "logicality"}
    kc = json.loads((one / "metrics/train_kc.json").read_text())
    ka = json.loads((one / "metrics/train_ka.json").read_text())
    assert kc["reference_adapter_sha256"] == ka["adapter_sha256"] != kc["adapter_sha256"]
    systems = json.loads((one / "metrics/systems.json").read_text())
    assert set(systems) == {"base", "sft", "ka", "kc"}
