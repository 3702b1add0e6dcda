"""A base model from scratch: a byte-level BPE tokenizer and a small Llama, trained on a plain corpus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.config.training import Scratch
from knowtuning.models import PIN

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
    """An untrained Llama of the given size; torch's global seed decides its weights."""
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
            f"the corpus has {len(stream)} tokens; expected at least base.scratch.sequence = {length}"
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


def _optimizers(model: torch.nn.Module, params: Scratch) -> list[Any]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    import torch

    from knowtuning.training.muon import Muon

    named = dict(model.named_parameters())
    inner = {name for name, p in named.items() if p.ndim == 2 and "embed_tokens" not in name}
    rest = [p for name, p in named.items() if name not in inner]
    return [
        Muon([named[name] for name in sorted(inner)], lr=params.muon_lr),
        torch.optim.AdamW(rest, lr=params.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train_model(
    model: torch.nn.Module,
    rows: torch.Tensor,
    params: Scratch,
    *,
    seed: int,
    device: str,
    bfloat16: bool,
    report: Callable[[int, float, float], None],
) -> Trained:
    """Train on packed rows; `report(steps done, loss, tokens per second)` is called after each step."""
    import torch

    steps = max(20, round(len(rows) * params.epochs / params.batch))
    steps = min(steps, params.max_steps or steps)
    optimizers = _optimizers(model, params)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    model.to(device).train()
    losses: list[float] = []
    start = time.monotonic()
    for step, batch in enumerate(_batches(rows, params.batch, steps, seed)):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * rate(step, steps)
        batch = batch.to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"base: the loss is {losses[-1]} at step {step + 1}; expected a number; lower "
                "base.scratch.muon_lr and base.scratch.adamw_lr"
            )
        report(step + 1, losses[-1], (step + 1) * batch.numel() / (time.monotonic() - start))
    tail = losses[-max(1, steps // 10) :]
    return Trained(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=steps * params.batch * params.sequence,
        steps=steps,
        loss=sum(tail) / len(tail),
    )


def build_base(
    corpus: Sequence[str],
    vocabulary_texts: Sequence[str],
    params: Scratch,
    out: Path,
    *,
    seed: int,
    device: str,
    bfloat16: bool,
) -> Trained:
    """Train tokenizer and model on `corpus` and save both to `out` (safetensors).

    `vocabulary_texts` also shape the tokenizer but are not trained on, so that the base model has read no
    question before fine-tuning.
    """
    import torch
    from tqdm import tqdm

    tokenizer = train_tokenizer([*corpus, *vocabulary_texts], params.vocab)
    torch.manual_seed(seed)
    model = new_model(params, tokenizer)
    rows = pack(tokenizer, corpus, params.sequence)
    with tqdm(desc="base", unit="step") as bar:

        def report(done: int, loss: float, speed: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)

        trained = train_model(model, rows, params, seed=seed, device=device, bfloat16=bfloat16, report=report)
    out.mkdir(parents=True, exist_ok=True)
    # The pin of an earlier run by hand would be taken for the model.
    (out / PIN).unlink(missing_ok=True)
    model.cpu().save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return trained
