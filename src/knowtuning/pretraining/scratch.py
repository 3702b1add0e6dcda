"""A base model from scratch: a byte-level BPE tokenizer and a small Llama, trained on a plain corpus."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.config.base import Scratch
from knowtuning.model.hardware import Hardware
from knowtuning.model.load import PIN
from knowtuning.model.memory import CPU_TOKENS
from knowtuning.model.resume import Due, checkpoints, seal

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


@dataclass(frozen=True)
class Trained:
    """What training a base model came to. loss: mean nats a token over the last tenth of the steps."""

    parameters: int
    tokens: int
    steps: int
    loss: float


def train_tokenizer(texts: Sequence[str], vocab: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer with at most `vocab` entries; it can encode any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def new_model(params: Scratch, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """An untrained Llama of the size in params; torch's global seed decides its weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if params.hidden % params.heads:
        raise ValueError(
            f"base.scratch.hidden is {params.hidden}; expected a multiple of "
            f"base.scratch.heads = {params.heads}"
        )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.hidden,
        intermediate_size=3 * params.hidden,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        max_position_embeddings=params.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def pack(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> torch.Tensor:
    """The texts, each between its marks, in one stream cut into rows (n, length); the rest is left out."""
    import torch

    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [bos, *ids, eos]
    rows = len(stream) // length
    if rows == 0:
        raise ValueError(
            f"the corpus has {len(stream)} tokens; expected at least base.scratch.sequence = {length}; "
            "give more training answers or lower it"
        )
    return torch.tensor(stream[: rows * length]).view(rows, length)


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate at a step: 20 steps up, flat, then down over the second half."""
    if step < 20:
        return (step + 1) / 20
    return min(1.0, 0.02 + 0.98 * 2 * (1 - step / steps))


def _batches(rows: torch.Tensor, size: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """`steps` batches of rows, shuffled anew in each pass."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(order) < size:
            order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
        yield rows[order[:size]]
        order = order[size:]


def optimizers(model: torch.nn.Module, params: Scratch, hardware: Hardware) -> list[Any]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    import torch

    from knowtuning.pretraining.muon import Muon

    parameters = dict(model.named_parameters())
    inner = {name for name, p in parameters.items() if p.ndim == 2 and "embed_tokens" not in name}
    rest = [p for name, p in parameters.items() if name not in inner]
    dtype = torch.bfloat16 if hardware.precision == "bfloat16" else torch.float32
    return [
        Muon([parameters[name] for name in sorted(inner)], lr=params.muon_lr, dtype=dtype),
        torch.optim.AdamW(rest, lr=params.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class ScratchTraining:
    """A training under way: what its next step depends on, beside the data. losses: of all steps, nats."""

    def __init__(self, model: torch.nn.Module, optimizers: list[Any], hardware: Hardware) -> None:
        self.model, self.optimizers, self.hardware = model, optimizers, hardware
        self.losses: list[float] = []
        self._peaks = [group["lr"] for group in self._groups()]

    def _groups(self) -> list[dict[str, Any]]:
        # A restored optimizer has new ones.
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, batch: torch.Tensor, scale: float) -> float:
        """One step at `scale` (0..1) of the peak rates; returns the loss (nats a token)."""
        import torch

        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * scale
        loss = 0.0
        # The logits of a whole step would leave a CPU's caches.
        rows = max(1, CPU_TOKENS // batch.shape[1]) if batch.device.type == "cpu" else len(batch)
        for part in torch.split(batch, rows):
            with self.hardware.autocast():
                share = self.model(input_ids=part, labels=part).loss * (len(part) / len(batch))
            share.backward()
            loss += share.item()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)
        return loss

    def save(self, folder: Path) -> None:
        """Write the state as the only checkpoint of `folder`."""
        import torch

        older = list(folder.glob("checkpoint-*"))
        path = folder / f"checkpoint-{len(self.losses)}"
        path.mkdir()
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "losses": self.losses,
        }
        torch.save(state, path / "state.pt")
        seal(path)
        for old in older:
            shutil.rmtree(old)

    def restore(self, folder: Path) -> None:
        """Take up the newest whole checkpoint of `folder`, if there is one."""
        import torch

        saved = checkpoints(folder)
        if not saved:
            return
        state = torch.load(saved[-1] / "state.pt", map_location=self.hardware.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.losses = state["losses"]


def train_model(
    model: torch.nn.Module,
    rows: torch.Tensor,
    params: Scratch,
    *,
    seed: int,
    hardware: Hardware,
    state: Path | None,
) -> Trained:
    """Train on packed rows, from the state in the folder `state`, saved every `hardware.save_seconds`."""
    from tqdm import tqdm

    steps = max(20, round(len(rows) * params.epochs / params.batch))
    steps = min(steps, params.max_steps or steps)
    model = model.to(hardware.device).train()
    training = ScratchTraining(model, optimizers(model, params, hardware), hardware)
    if state is not None:
        training.restore(state)
    first, start, due = len(training.losses), time.monotonic(), Due(hardware.save_seconds)
    batches = itertools.islice(enumerate(_batches(rows, params.batch, steps, seed)), first, None)
    with tqdm(batches, desc="base", unit="step", initial=first) as bar:
        for step, batch in bar:
            loss = training.step(batch.to(hardware.device), rate(step, steps))
            if not math.isfinite(loss):
                raise ValueError(
                    f"base: the loss is {loss} at step {step + 1}; expected a number; lower "
                    "base.scratch.muon_lr and base.scratch.adamw_lr"
                )
            speed = (step + 1 - first) * batch.numel() / (time.monotonic() - start)
            bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
            if state is not None and due():
                with due.saving():
                    training.save(state)
    last = training.losses[-max(1, steps // 10) :]
    return Trained(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=steps * params.batch * params.sequence,
        steps=steps,
        loss=sum(last) / len(last),
    )


def build_base(
    corpus: Sequence[str],
    vocabulary_texts: Sequence[str],
    params: Scratch,
    out: Path,
    *,
    seed: int,
    hardware: Hardware,
    state: Path | None = None,
) -> Trained:
    """Train tokenizer and model on `corpus` and save both to `out` (safetensors); see train_model for state.

    `vocabulary_texts` also shape the tokenizer but are not trained on, so that the base model has read no
    question before fine-tuning.
    """
    import torch

    tokenizer = train_tokenizer([*corpus, *vocabulary_texts], params.vocab)
    torch.manual_seed(seed)
    model = new_model(params, tokenizer)
    rows = pack(tokenizer, corpus, params.sequence)
    trained = train_model(model, rows, params, seed=seed, hardware=hardware, state=state)
    out.mkdir(parents=True, exist_ok=True)
    # The pin of an earlier run by hand would be taken for the model.
    (out / PIN).unlink(missing_ok=True)
    model.cpu().save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return trained
