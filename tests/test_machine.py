"""Hardware settings come from the environment; one that cannot be honoured is one line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from knowtuning.products import _packs
from knowtuning.runtime.machine import Hardware, detect

SOURCES = Path(__file__).resolve().parents[1] / "src"


def test_settings_override_what_is_found() -> None:
    environ = {
        "KNOWTUNING_DEVICE": "cpu",
        "KNOWTUNING_PRECISION": "bfloat16",
        "KNOWTUNING_MICRO_BATCH": "4",
        "KNOWTUNING_BATCH_TOKENS": "100",
    }
    assert detect(environ) == Hardware("cpu", "bfloat16", 4, 100)
    assert detect({"KNOWTUNING_DEVICE": "cpu", "KNOWTUNING_PRECISION": "float32"}) == Hardware(
        "cpu", "float32", None, None
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DEVICE", "gpu", r"KNOWTUNING_DEVICE is 'gpu'; this machine has cpu"),
        ("DEVICE", "cuda:1", r"KNOWTUNING_DEVICE is 'cuda:1'; .* CUDA_VISIBLE_DEVICES"),
        ("PRECISION", "fp16", r"KNOWTUNING_PRECISION is 'fp16'; expected float32 or bfloat16"),
        ("MICRO_BATCH", "0", r"KNOWTUNING_MICRO_BATCH is '0'; expected a whole number of at least 1"),
        ("BATCH_TOKENS", "many", r"KNOWTUNING_BATCH_TOKENS is 'many'"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect({f"KNOWTUNING_{key}": value})


GLIBC = platform.libc_ver()[0] == "glibc"
KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def printed(program: str) -> list[int]:
    """The numbers that a process of its own prints; `held()` there is the memory it holds, in MiB."""
    start = (
        "import os, re, torch\n"
        "from knowtuning.runtime.machine import detect, set_up\n"
        "status = '/proc/self/status'\n"
        "def held(): return int(re.search(r'VmRSS:\\s+(\\d+)', open(status).read())[1]) // 1024\n"
    )
    environ = {name: value for name, value in os.environ.items() if name not in KEPT}
    environ |= {"PYTHONPATH": str(SOURCES), "KNOWTUNING_DEVICE": "cpu"}
    words = [sys.executable, "-c", start + program]
    run = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    return [int(number) for number in run.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="memory is kept where the C library is glibc")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_is_kept_on_a_cpu(kept: bool) -> None:
    full, after = printed(
        f"{'set_up' if kept else 'detect'}(os.environ)\n"
        "before = held()\n"
        "large = torch.ones(2**25)\n"
        "full = held()\n"
        "del large\n"
        "print(full - before, held() - before)"
    )
    # 128 MiB.
    assert full > 100
    assert (after > 100) == kept


@pytest.mark.skipif(not _packs(), reason="no products by packed weights here")
@pytest.mark.parametrize("few", [True, False])
def test_few_products_are_kept_ready_on_a_cpu(few: bool) -> None:
    (grown,) = printed(
        "from knowtuning.products import PackedLinear\n"
        f"{'set_up' if few else 'detect'}(os.environ)\n"
        "layer = PackedLinear(torch.nn.Linear(64, 64))\n"
        "before = held()\n"
        "for rows in range(100, 800): layer(torch.ones(rows, 64))\n"
        "print(held() - before)"
    )
    # MiB for 700 sizes.
    assert (grown < 220) == few
