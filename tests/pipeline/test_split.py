"""A model whose weights are split over two processes computes what the whole one computes, to the bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from stage_runs import CONTEXT, SPLIT, two

from knowtuning.core.storage import read_json, write_json
from knowtuning.runtime.machine import Processes, started

FAMILIES = ["llama", "gpt2", "qwen2"]


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


def numbers(folder: Path, family: str, processes: Processes) -> dict[str, Any]:
    """Logits, an adapter's training by hand, and how many numbers of the weights this process holds."""
    import torch
    from peft import LoraConfig, get_peft_model

    from knowtuning.likelihood import Likelihood
    from knowtuning.packing import Tree
    from knowtuning.runtime.models import load_base

    model: Any = load_base(folder / family, dtype=torch.float32, device="cpu", processes=processes)
    held = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.parameters())
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
    return {"held": held, "sums": sums, "losses": losses}


def split_process(folder: Path, environment: dict[str, str]) -> None:
    """One of two processes."""
    rank = environment["RANK"]
    os.environ.update(environment)
    processes = started(os.environ, "cpu")
    assert processes == Processes(int(rank), 2, split=True)
    write_json(folder / f"{rank}.json", {f: numbers(folder, f, processes) for f in FAMILIES})


def one_process(folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    write_json(folder / "whole.json", {f: numbers(folder, f, Processes()) for f in FAMILIES})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process finds, and each of two that hold parts."""
    folder = tmp_path_factory.mktemp("split")
    families(folder)
    environments = two(OMP_NUM_THREADS="1", **SPLIT)
    runs = [CONTEXT.Process(target=split_process, args=(folder, one)) for one in environments]
    runs.append(CONTEXT.Process(target=one_process, args=(folder,)))
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    return [read_json(folder / f"{name}.json") for name in ("whole", "0", "1")]


@pytest.mark.parametrize("family", FAMILIES)
def test_split_weights_compute_what_whole_ones_do(results: list[dict[str, Any]], family: str) -> None:
    whole, *parts = (found[family] for found in results)
    for part in parts:
        assert part["sums"] == whole["sums"]
        assert part["losses"] == whole["losses"]
        # Embeddings, norms and head are whole everywhere; the blocks are most of these models.
        assert part["held"] < 0.8 * whole["held"]
    assert whole["losses"][-1] < whole["losses"][0]


def test_a_launcher_that_asks_for_more_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^ACCELERATE_USE_DEEPSPEED is true, which .*fsdp\.yaml$"):
        started({"ACCELERATE_USE_DEEPSPEED": "true"}, "cpu")
    with pytest.raises(ValueError, match=r"^FSDP_OFFLOAD_PARAMS is true, which is not supp"):
        started({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, "cpu")
