"""What the processes of the default run import, and how long that takes: `python benchmarks/imports.py`

Counted by package; what `import torch` alone brings is told apart from what others ask torch for later.
Medians of --rounds runs of `python -X importtime`, which itself costs some percent. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LLAMA = "import transformers.models.llama.modeling_llama, transformers.models.auto.modeling_auto"
TRAINING = "import knowtuning.training.engine.trainers, knowtuning.training.engine.checkpoints, dvclive"
# What a stage has imported when its work begins, and how many processes of the default run do so.
STAGES = {
    "rewrite": ("import stages.rewrite", 4),
    "score": (f"import stages.score; {LLAMA}", 2),
    "predict": (f"import stages.predict; {LLAMA}; import peft", 4),
    "train_kc": (f"import stages.train_kc; {LLAMA}; {TRAINING}; import peft", 3),
}
TORCH = ("torch", "sympy", "mpmath", "numpy", "networkx")
SHOWN = ("import torch", "more of torch", "transformers", "scipy, sklearn", "trl, peft, accelerate", "others")


def package(name: str, torch_alone: set[str]) -> str:
    """The row of the table a module belongs to."""
    top = name.split(".")[0]
    if top in TORCH:
        return "import torch" if name in torch_alone else "more of torch"
    if top == "transformers":
        return top
    if top in ("scipy", "sklearn"):
        return "scipy, sklearn"
    return "trl, peft, accelerate" if top in ("trl", "peft", "accelerate") else "others"


def imported(code: str) -> dict[str, float]:
    """Seconds each module takes by itself, by name."""
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]; "
    words = [sys.executable, "-X", "importtime", "-c", path + code]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    rows = (line.removeprefix("import time:").split("|") for line in said.splitlines() if "|" in line)
    found: Counter[str] = Counter()
    for own, _, name in rows:
        if own.strip().isdecimal():
            found[name.strip()] += int(own) / 1e6
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    runs: dict[str, list[Counter[str]]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        alone = set(imported("import torch"))
        for stage, (code, _) in STAGES.items():
            sums: Counter[str] = Counter()
            for name, seconds in imported(code).items():
                sums[package(name, alone)] += seconds
            runs[stage].append(sums)
    print(f"| seconds | {' | '.join(STAGES)} |\n|---|{'---:|' * len(STAGES)}")
    for row in SHOWN:
        cells = (f"{statistics.median(run[row] for run in runs[stage]):.2f}" for stage in STAGES)
        print(f"| {row} | {' | '.join(cells)} |")
    totals = {stage: statistics.median(sum(run.values()) for run in runs[stage]) for stage in STAGES}
    print(f"| together | {' | '.join(f'{total:.2f}' for total in totals.values())} |")
    print(f"| processes | {' | '.join(str(count) for _, count in STAGES.values())} |")
    whole = sum(totals[stage] * count for stage, (_, count) in STAGES.items())
    print(f"\nThe {sum(count for _, count in STAGES.values())} processes before evaluate: {whole:.0f} s.")


if __name__ == "__main__":
    main()
