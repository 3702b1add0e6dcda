"""A model whose weights are split over two processes computes what the whole one computes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from stage_runs import CONTEXT, SPLIT, ZERO3, needs_deepspeed, two

from knowtuning.core.storage import read_json, write_json
from knowtuning.runtime import machine
from knowtuning.runtime.machine import Processes, Split, splits, started

FAMILIES = ["llama", "gpt2", "qwen2"]
OFFLOAD = "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE"
LAUNCHERS: dict[Split, dict[str, str]] = {
    "fsdp": SPLIT,
    "zero3": ZERO3,
    "zero3-cpu": {**ZERO3, OFFLOAD: "cpu"},
}


def families(folder: Path) -> None:
    """A random model of each family; the heads of gpt2 and qwen2 are tied to their embeddings."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for family in FAMILIES:
        small = {"vocab_size": 97, "hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 3}
        small |= {} if family == "gpt2" else {"num_key_value_heads": 3}
        tied = family != "llama"
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **small, intermediate_size=51, tie_word_embeddings=tied)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / family)


def held(weight: Any) -> int:
    """How many numbers of a weight this process holds: its part, and with ZeRO-3 what is gathered."""
    part = getattr(weight, "ds_tensor", None)
    return int(getattr(weight, "to_local", lambda: weight)().numel()) + (0 if part is None else part.numel())


def numbers(folder: Path, family: str, processes: Processes) -> dict[str, Any]:
    """Sums, losses of an adapter trained by hand, and the numbers of the weights held before and after."""
    import torch
    from peft import LoraConfig, get_peft_model

    from knowtuning.likelihood import Likelihood
    from knowtuning.packing import Tree
    from knowtuning.runtime.models import load_base

    model: Any = load_base(folder / family, dtype=torch.float32, device="cpu", processes=processes)
    weights = list(model.parameters())
    before = sum(map(held, weights))
    sums = Likelihood(model).logps([Tree((1, 2, 3), ((4, 5), (6, 7, 8))), Tree((9, 2), ((3, 3, 3),))])
    ids = torch.arange(24).view(2, 12)
    torch.manual_seed(1)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    adapted.activation_checkpointing_enable()
    adapted.enable_input_require_grads()
    adapted.train()
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(3):
        loss = adapted(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return {"held": before, "left": sum(map(held, weights)), "sums": sums, "losses": losses}


def split_process(folder: Path, environment: dict[str, str], split: Split) -> None:
    """One of two processes."""
    rank = environment["RANK"]
    os.environ.update(environment)
    processes = started(os.environ, "cpu")
    assert processes == Processes(int(rank), 2, split)
    write_json(folder / f"{rank}.json", {f: numbers(folder, f, processes) for f in FAMILIES})


def one_process(folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    write_json(folder / "whole.json", {f: numbers(folder, f, Processes()) for f in FAMILIES})


def run(*runs: tuple[Any, ...]) -> None:
    """Run functions with their arguments, each in a process of its own, side by side."""
    processes = [CONTEXT.Process(target=function, args=arguments) for function, *arguments in runs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(runs)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, and what one process finds with them."""
    folder = tmp_path_factory.mktemp("split")
    families(folder)
    run((one_process, folder))
    return folder


@pytest.mark.parametrize(
    "split",
    [
        pytest.param("fsdp"),
        pytest.param("zero3", marks=needs_deepspeed),
        pytest.param("zero3-cpu", marks=needs_deepspeed),
    ],
)
def test_split_weights_compute_what_whole_ones_do(models: Path, split: Split) -> None:
    environments = two(OMP_NUM_THREADS="1", **LAUNCHERS[split])
    run(*((split_process, models, environment, split) for environment in environments))
    found = read_json(models / "whole.json")
    for part in (read_json(models / f"{rank}.json") for rank in range(2)):
        for family in FAMILIES:
            whole, mine = found[family], part[family]
            assert mine["sums"] == whole["sums"]
            # The hooks of DeepSpeed add a module's gradients before those of what it goes around.
            close = 0 if split == "fsdp" else 1e-6
            assert mine["losses"] == pytest.approx(whole["losses"], rel=close, abs=0)
            # Embeddings, norms and head are whole everywhere; the blocks are most of these models.
            assert mine["held"] < 0.8 * whole["held"]
            assert mine["left"] == mine["held"]
            assert whole["losses"][-1] < whole["losses"][0]


def refusal(**environ: str) -> str:
    with pytest.raises(ValueError, match=" is ") as caught:
        splits(environ)
    return str(caught.value)


def test_a_launcher_that_asks_for_more_is_refused() -> None:
    assert refusal(ACCELERATE_USE_DEEPSPEED="true") == (
        "ACCELERATE_DEEPSPEED_ZERO_STAGE is 2; expected 3: the others split what is trained, a small "
        "adapter; start with experiments/accelerate/ddp.yaml"
    )
    assert refusal(**{**ZERO3, OFFLOAD: "nvme"}) == (
        f"{OFFLOAD} is nvme; expected none or cpu: set offload_param_device"
    )
    assert refusal(**ZERO3, ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE="cpu").endswith(
        "is cpu; expected none: it is an adapter's and small; set offload_optimizer_device"
    )
    assert refusal(ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_CONFIG_FILE="ds.json").startswith(
        "ACCELERATE_DEEPSPEED_CONFIG_FILE is ds.json; expected none: "
    )
    assert refusal(**SPLIT, FSDP_OFFLOAD_PARAMS="true").endswith(
        "deepspeed.yaml and offload_param_device cpu"
    )


def test_a_missing_deepspeed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert refusal(**ZERO3).endswith("DeepSpeed is missing; `pip install deepspeed==0.19.8`")
