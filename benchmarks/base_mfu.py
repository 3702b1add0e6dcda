"""How near the base stage's training comes to the machine's matrix product: `python benchmarks/base_mfu.py`.

Times steps of the default scratch model on random tokens, counts their floating-point operations (forward,
backward and those of the optimizer), and compares with a large matrix product in float32 and in bfloat16.
Writes benchmarks/base_mfu.md, with a profile of what the rest of the time goes into.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.compare import machine  # noqa: E402
from knowtuning.attention import fit_attention  # noqa: E402
from knowtuning.config.schema import Params  # noqa: E402
from knowtuning.core.params import load  # noqa: E402
from knowtuning.runtime.machine import detect  # noqa: E402
from knowtuning.training.base.scratch import _PARTS, Compute, Run, lanes, new_model, optimizers  # noqa: E402

STEPS, SIZE = 20, 2048


def seconds(call: Callable[[], object], least: float = 2.0) -> float:
    """Seconds of one call, the fastest of those that fit into `least` seconds after a first one."""
    call()
    found, end = [], time.perf_counter() + least
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def peak(dtype: torch.dtype, size: int = SIZE) -> float:
    """Operations a second of a square matrix product."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / seconds(lambda: a @ b)


class Words:
    """Stands in for a tokenizer: the model's size is all that counts."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def main() -> None:
    params = load(ROOT / "params.yaml", Params).base.scratch
    torch.manual_seed(1)
    model = new_model(params, Words(params.vocab)).train()  # type: ignore[arg-type]
    precision = detect(os.environ).precision
    fit_attention(model)
    run = Run(model, optimizers(model, params, bfloat16=precision == "bfloat16"))
    peaks = [group["lr"] for optimizer in run.optimizers for group in optimizer.param_groups]
    batch = torch.randint(params.vocab, (params.batch, params.sequence))

    def step(compute: Compute = map) -> None:
        run.step(batch, 1.0, peaks, bfloat16=precision == "bfloat16", compute=compute)

    step()
    with FlopCounterMode(display=False) as counter:  # of this thread
        step()
    flops = counter.get_total_flops()
    times = []
    with lanes(_PARTS) as compute:
        step(compute)
        for _ in range(STEPS):
            start = time.perf_counter()
            step(compute)
            times.append(time.perf_counter() - start)
    each = sorted(times)[len(times) // 2]
    # Emulated, a large product of bfloat16 numbers would take minutes.
    single, half = peak(torch.float32), peak(torch.bfloat16, SIZE if precision == "bfloat16" else 512)
    lines = [
        "# The base stage's training loop",
        "",
        f"Made by `python benchmarks/base_mfu.py`, which says how. {machine()}. A step has "
        f"{batch.numel()} tokens and {flops / 1e9:.1f} GFLOP in {precision} and takes {each * 1000:.0f} ms.",
        "",
        "| | GFLOP/s | the loop's share of it |",
        "|---|---:|---:|",
        f"| the training loop | {flops / each / 1e9:.0f} | |",
        f"| product of two float32 matrices | {single / 1e9:.0f} | {100 * flops / each / single:.0f} % |",
        f"| product of two bfloat16 matrices | {half / 1e9:.1f} | {100 * flops / each / half:.0f} % |",
        "",
    ]
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            step()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    lines += ["| operation | share of the time |", "|---|---:|"]
    lines += [f"| `{row.key}` | {100 * row.self_cpu_time_total / total:.1f} % |" for row in rows[:10]]
    (ROOT / "benchmarks/base_mfu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
