"""Our stages beside what one would run instead, on a CPU: `python -m benchmarks.compare [TASK ...]`.

All sides (benchmarks/sides.py) work on the data and models of this checkout (`make repro` makes them), or
with `--raw FOLDER` on some questions of Dolly in the paper's template (FOLDER holds dolly_train.json,
dolly_valid.json and dolly_test.json) with a model of the default size or, with `--size 58M`, of 58 million
parameters, made in .cache/bench-dolly-…. Each is a process of its own, in turns, with as many threads as
torch takes by itself or OMP_NUM_THREADS says. Writes medians and ratios to benchmarks/results.json and their
tables into benchmarks/results.md. lm-evaluation-harness goes to .cache/bench-lm-eval and shares torch and
transformers; LLaMA-Factory, which needs older ones, goes to .cache/bench-llamafactory with torch and all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.sides import LLAMA_FACTORY, LM_EVAL, OURS, TASKS
from benchmarks.stages import measure, overrides
from experiments.catalogue import ROOT
from experiments.copies import commands, copy_tracked, set_params
from experiments.study import into
from knowtuning.core.records import Pair, Rewrite, read_jsonl, write_jsonl
from knowtuning.core.storage import read_json, write_json

LM_EVAL_PACKAGES = ["lm-eval==0.4.13", "pytablewriter", "sacrebleu", "sqlitedict", "word2number"]
# What its metadata asks for, as far as it is imported here.
LLAMA_FACTORY_PACKAGES = [
    *["accelerate==1.11.0", "datasets==4.0.0", "peft==0.18.1", "transformers==5.6.0", "trl==0.24.0"],
    *["av<=16.0.0", "einops", "fire", "jieba", "matplotlib", "nltk", "numpy", "omegaconf", "pandas"],
    *["pydantic", "pyyaml", "rouge_chinese", "ruamel.yaml", "scipy", "sentencepiece", "tiktoken"],
    *["torchdata==0.11.0", "tyro<0.9.0"],
]
# On Dolly, beside what experiments/smoke.yaml sets: the paper's template, and as many questions as take a
# side half a minute or two. The larger model is barely trained: that changes no speed.
PAPER: dict[str, Any] = {
    "model.template": "alpaca",
    "prepare.limit.valid": 20,
    "predict.max_new_tokens": 256,
    "train_ka.eval_every": 0.5,
    "train_kc.epochs": 1,
    "train_kc.eval_every": 0.5,
}
SIZES: dict[str, dict[str, Any]] = {
    "default size": {"prepare.limit.test": 128, "train_ka.epochs": 2},
    "58M": {
        "prepare.limit.test": 64,
        "base.scratch.vocab": 16384,
        "base.scratch.hidden": 640,
        "base.scratch.layers": 9,
        "base.scratch.heads": 10,
        "base.scratch.batch": 8,
        "base.scratch.max_steps": 20,
        "train_ka.epochs": 1,
    },
}
QUESTIONS = {"default size": 300, "58M": 30}
RESULTS = ROOT / "benchmarks/results.json"
# The sides' log-probabilities must agree to this (nats).
SAME_LOGPS = 1e-4
# Their best validation losses to this share: each draws an order of its own.
SAME_LOSS = 0.03
ABOUT = """## Side by side

Made by `python -m benchmarks.compare`, which says how. Medians, in brackets least and most; a ratio is the
time of a side over ours. `work` leaves out imports and, for score, loading; `process` has all of it.

LLaMA-Factory trains on the tokens that we train on, with the KA adapter as the reference of KC; it pads a
training batch to a multiple of 8 and cuts long rows on both sides of the boundary. The others validate SFT by
batches, we by tokens.
"""


def install_lm_eval() -> Path:
    """The folder that holds lm-evaluation-harness and what it needs beside this project's own packages."""
    folder = ROOT / ".cache/bench-lm-eval"
    if not (folder / "lm_eval").exists():
        # Without dependencies first: pip would put a second torch there.
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*pip, "--no-deps", LM_EVAL_PACKAGES[0]], check=True)
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *constraints, *LM_EVAL_PACKAGES[1:]], check=True)
    return folder


def install_llama_factory() -> Path:
    """The Python of an environment that holds LLaMA-Factory and what it needs."""
    folder = ROOT / ".cache/bench-llamafactory"
    python = folder / "bin/python"
    if not (folder / "installed").exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        # torch first and LLaMA-Factory without dependencies: they would bring a web server and more.
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), "torch"], check=True)
        subprocess.run([*pip, "--no-deps", "llamafactory==0.9.5"], check=True)
        subprocess.run([*pip, *LLAMA_FACTORY_PACKAGES], check=True)
        # It imports torchaudio always and uses it for audio alone; the published build needs CUDA.
        site = next((folder / "lib").glob("python*/site-packages"))
        (site / "torchaudio.py").touch()
        (folder / "installed").touch()
    return python


def run_side(task: str, side: str, folder: Path) -> dict[str, Any]:
    """One run of one side: what it printed, with the seconds of its process and its peak memory (MiB)."""
    offline = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Named, for the environment of LLaMA-Factory has no KnowTuning.
    path = [ROOT, ROOT / "src", *([install_lm_eval()] if side == LM_EVAL else [])]
    python = str(install_llama_factory() if side == LLAMA_FACTORY else sys.executable)
    start = time.perf_counter()
    child = subprocess.Popen(
        [python, "-m", "benchmarks.sides", task, side, str(folder)],
        cwd=ROOT,
        env={**os.environ, **offline, "PYTHONPATH": os.pathsep.join(map(str, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    printed = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"error: {task}, {side} ended with status {status}; run it alone to see why")
    outcome: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return {**outcome, "wall": time.perf_counter() - start, "peak": usage.ru_maxrss / 1024}


def dolly(raw: Path, size: str) -> Path:
    """A copy of the tracked files where the stages made what the sides read, of Dolly.

    Made on first use; one that was stopped after its base model, the longest part, goes on from there.
    """
    folder = ROOT / f".cache/bench-dolly-{size.split()[0]}"
    known = dict(commands(ROOT))
    if not (folder / "models/base").exists():
        shutil.rmtree(folder, ignore_errors=True)
        copy_tracked(folder)
        for split in ("train", "valid", "test"):
            shutil.copy2(raw / f"dolly_{split}.json", folder / "data/raw")
        set_params(folder / "params.yaml", {**overrides("dolly-smoke"), **PAPER, **SIZES[size]})
        for stage in ("prepare", "base"):
            measure(known[stage], folder)
    if not (folder / "models/kc").exists():
        # Tokenizer and model have seen all of the text; the sides get a part of it.
        set_params(folder / "params.yaml", {"prepare.limit.train": QUESTIONS[size]})
        for stage in ("prepare", "extract", "score", "rewrite", "perturb", "train_ka", "train_kc"):
            measure(known[stage], folder)
    return folder


def project(source: Path, folder: Path, changes: dict[str, Any], rows: int | None) -> None:
    """A copy of what all sides read, with changed parameters; of training rows the first alone."""
    shutil.copy2(source / "params.yaml", folder)
    set_params(folder / "params.yaml", changes)
    for name in ("data/prepared", "data/knowledge", "models/base", "models/ka", "models/kc"):
        if not (source / name).exists():
            raise SystemExit(f"error: {name} is not there; run `make repro` first")
        shutil.copytree(source / name, folder / name)
    rewrites, pairs = (folder / f"data/knowledge/{name}.jsonl" for name in ("rewrites", "pairs"))
    write_jsonl(rewrites, read_jsonl(rewrites, Rewrite)[:rows])
    # The others know no offset of a pair.
    plain = [pair.model_copy(update={"offset": 0.0}) for pair in read_jsonl(pairs, Pair)[:rows]]
    write_jsonl(pairs, plain)


def agreement(task: str, first: dict[str, dict[str, Any]]) -> str:
    """In what the sides' results agree, in words; ends the run where losses or log-probabilities do not.

    first: a run of each side.
    """
    if task.startswith("train"):
        results = [f"{side} {row['steps']} steps, {row['loss']:.4f}" for side, row in first.items()]
        losses = [row["loss"] for row in first.values()]
        if max(losses) > min(losses) * (1 + SAME_LOSS):
            raise SystemExit(f"error: {task}: the sides trained on different losses: {'; '.join(results)}")
        return f"steps and best validation loss: {'; '.join(results)}"
    values = first.pop(OURS)["values"]
    pairs = {side: list(zip(values, row["values"], strict=True)) for side, row in first.items()}
    if task == "predict":
        same = (f"{side} {sum(a == b for a, b in both)}" for side, both in pairs.items())
        return f"answers of {len(values)} that are the same text as ours: {', '.join(same)}"
    worst = max(abs(a - b) for both in pairs.values() for a, b in both)
    # Both are rounded to 4 decimals, so the last of them may differ by one.
    if round(worst, 6) > SAME_LOGPS:
        raise SystemExit(f"error: log-probabilities differ by {worst} nats; expected {SAME_LOGPS} at most")
    return f"{len(values)} log-probabilities differ by {worst:.1e} nats at most"


def compare(task: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Run the sides of a task in turns; medians of each and how they agree."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in TASKS[task]}
    for number in range(rounds):
        # The order turns too, so that neither side always meets the warmer machine.
        for side in list(runs) if number % 2 == 0 else list(runs)[::-1]:
            runs[side].append(run_side(task, side, folder))
            print(f"{task}, {side}: {runs[side][-1]['seconds']:.1f} s", file=sys.stderr)
    medians: dict[str, Any] = {}
    for side, rows in runs.items():
        keys = ("seconds", "wall", "peak")
        medians[side] = {key: round(statistics.median(row[key] for row in rows), 2) for key in keys}
        medians[side]["runs"] = [round(row["seconds"], 2) for row in rows]
    agreed = agreement(task, {side: rows[0] for side, rows in runs.items()})
    return {"sides": medians, "agreement": agreed, "rounds": rounds}


def machine() -> str:
    """What the numbers were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cpu = f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"
    level, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return f"{cpu}, {level}, torch {torch.__version__}, {threads} threads"


def table(results: dict[str, Any]) -> str:
    """The Markdown page of all results."""
    lines = [ABOUT]
    for name, entry in results.items():
        lines += [f"### {name}", "", f"{entry['machine']}; load when it started: {entry['load']}."]
        lines += [f"Rounds in turns: {entry['rounds']}. {entry['agreement']}.", ""]
        lines += ["| side | work, s | ratio | process, s | ratio | peak MiB |", "|---" + "|---:" * 5 + "|"]
        ours = entry["sides"][OURS]
        for side, row in entry["sides"].items():
            spread = f"[{min(row['runs']):.2f}, {max(row['runs']):.2f}]"
            ratios = [row[key] / ours[key] for key in ("seconds", "wall")]
            cells = [side, f"{row['seconds']:.2f} {spread}", f"**{ratios[0]:.2f}**"]
            cells += [f"{row['wall']:.1f}", f"{ratios[1]:.2f}", f"{row['peak']:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="parameters to change")
    parser.add_argument("--rows", type=int, help="rewrites and pairs to train on, the first; default: all")
    parser.add_argument("--raw", type=Path, help="folder of Dolly's splits: compare on its questions")
    parser.add_argument("--size", choices=SIZES, default="default size", help="of the model, with --raw")
    arguments = parser.parse_args()
    changes = {
        key: YAML(typ="safe").load(value) for key, value in (text.split("=", 1) for text in arguments.set)
    }
    source, name_of = ROOT, "closed world, default size"
    if arguments.raw:
        source, name_of = dolly(arguments.raw, arguments.size), f"Dolly, {arguments.size}"
    chosen = [*arguments.set, *([f"first {arguments.rows} rows"] if arguments.rows else [])]
    set_to = f" ({', '.join(chosen)})" if chosen else ""
    for task in arguments.tasks or TASKS:
        with tempfile.TemporaryDirectory() as name:
            project(source, Path(name), changes, arguments.rows)
            load = " ".join(f"{value:.1f}" for value in os.getloadavg())
            entry = compare(task, Path(name), arguments.rounds)
        results = read_json(RESULTS) if RESULTS.exists() else {}
        results[f"{task}, {name_of}{set_to}"] = {**entry, "machine": machine(), "load": load}
        write_json(RESULTS, results)
        into(ROOT / "benchmarks/results.md", table(results).rstrip())


if __name__ == "__main__":
    main()
