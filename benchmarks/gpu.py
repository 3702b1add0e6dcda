"""Speed on one GPU with a Llama-2-7B-shaped model of random weights: `python benchmarks/gpu.py [--shape 7b]`.

Tokens a second and the share of the card's measured bfloat16 matrix speed (MFU) for SFT, KC, score and
predict, as the stages run them, and for training as plain TRL does it on the same rows; training includes
loading the model. `--shape tiny --device cpu` runs the same anywhere in a minute. Not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knowtuning.config.training import KCParams, LoraParams, Schedule  # noqa: E402
from knowtuning.core.records import Atoms, Example  # noqa: E402
from knowtuning.runtime.machine import Hardware, weights_dtype  # noqa: E402
from knowtuning.runtime.models import load_base, load_tokenizer  # noqa: E402
from knowtuning.training.engine.rows import PairRow, Row  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 400,
    },
}
SCHEDULE: dict[str, Any] = {
    "lr": 1e-4,
    "epochs": 1.0,
    "schedule": "cosine",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "eval_rows": 2,
    "eval_every": 1.0,
    "max_rejected": 0.0,
}
LORA = LoraParams(r=8, alpha=16, dropout=0.0, targets=["q_proj", "v_proj"])
SFT_BATCH, KC_BATCH = 32, 16
HELD_OUT = SCHEDULE["eval_rows"]
PROMPT, FACT = 48, 24  # tokens


def make_base(folder: Path, shape: str, hardware: Hardware) -> int:
    """Write a base model with random weights; returns its number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from knowtuning.training.base.scratch import train_tokenizer

    tokenizer = train_tokenizer(["The export of town 7 is tin."], 300)
    config = LlamaConfig(**SHAPES[shape], bos_token_id=0, eos_token_id=1, pad_token_id=2)
    torch.manual_seed(0)
    with torch.device(hardware.device):
        torch.set_default_dtype(weights_dtype(hardware))
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def peak(hardware: Hardware, size: int) -> float:
    """Measured speed of a square matrix product in the precision of training (FLOP/s): the best of 5."""
    import torch

    dtype = torch.bfloat16 if hardware.precision == "bfloat16" else torch.float32
    a = torch.randn(size, size, device=hardware.device, dtype=dtype)
    best = 0.0
    for _ in range(5):
        _settle(hardware)
        start = time.perf_counter()
        for _ in range(10):
            a @ a
        _settle(hardware)
        best = max(best, 20 * size**3 / (time.perf_counter() - start))
    return best


def _settle(hardware: Hardware) -> None:
    import torch

    if hardware.device == "cuda":
        torch.cuda.synchronize()


def tokens(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(3, 300) for _ in range(count)]


def sft_rows(rows: int, length: int) -> list[Row]:
    """Rows of half to all of `length` tokens."""
    draw, data = random.Random(0), []
    for n in range(rows):
        answer = tokens(draw, draw.randint(length // 2, length) - PROMPT)
        prompt = tokens(draw, PROMPT)
        data.append(Row(str(n), str(n), prompt + answer, [-100] * PROMPT + answer))
    return data


def kc_rows(rows: int, length: int) -> list[PairRow]:
    """Pairs of half to all of `length` tokens a side."""
    draw, data = random.Random(1), []
    for n in range(rows):
        prompt, size = tokens(draw, PROMPT), draw.randint(length // 2, length) - PROMPT
        data.append(PairRow(str(n), str(n), prompt, tokens(draw, size), tokens(draw, size)))
    return data


def sft(base: Path, work: Path, hardware: Hardware, rows: int, length: int) -> int:
    """SFT on `rows` sequences of about `length` tokens; returns the tokens trained on."""
    from knowtuning.training.sft import train_sft

    summary = train_sft(
        sft_rows(rows + HELD_OUT, length),
        base,
        work / "ka",
        work / "plots-ka",
        section="train_ka",
        params=Schedule(**SCHEDULE, batch=SFT_BATCH),
        lora=LORA,
        hardware=hardware,
        state=work / "state-ka",
        seed=1,
    )
    return summary.train_tokens


def kc(base: Path, work: Path, hardware: Hardware, rows: int, length: int) -> int:
    """KC on `rows` pairs; returns the tokens trained on. Their reference is computed too."""
    from knowtuning.training.kc import train_kc

    summary, _ = train_kc(
        kc_rows(rows + HELD_OUT, length),
        base,
        work / "ka",
        work / "kc",
        work / "plots-kc",
        params=KCParams(**SCHEDULE, batch=KC_BATCH, beta=0.1, gamma=0.2, reference="ka"),
        hardware=hardware,
        state=work / "state-kc",
        seed=1,
    )
    return summary.train_tokens


def plain(work: Path, hardware: Hardware, batch: int) -> dict[str, Any]:
    """The same hyper-parameters for TRL's own trainers; everything else as TRL has it."""
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": hardware.micro_batch,
        "gradient_accumulation_steps": batch // (hardware.micro_batch or batch),
        "learning_rate": SCHEDULE["lr"],
        "num_train_epochs": SCHEDULE["epochs"],
        "lr_scheduler_type": SCHEDULE["schedule"],
        "bf16": hardware.precision == "bfloat16",
        "use_cpu": hardware.device == "cpu",
        "save_strategy": "no",
        "max_length": None,
        "report_to": "none",
        "disable_tqdm": True,
    }


def trl_sft(base: Path, work: Path, hardware: Hardware, rows: int, length: int) -> int:
    """Plain TRL on the rows of `sft`: padded batches in random order."""
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from knowtuning.training.engine.adapters import new_adapter
    from knowtuning.training.engine.trainers import row_dataset

    data = sft_rows(rows, length)
    SFTTrainer(
        model=new_adapter(load_base(base, dtype=weights_dtype(hardware), device=hardware.device), LORA),
        args=SFTConfig(**plain(work / "trl-ka", hardware, SFT_BATCH)),
        train_dataset=row_dataset(data),
        processing_class=load_tokenizer(base),
    ).train()
    return sum(len(row.input_ids) for row in data)


def trl_kc(base: Path, work: Path, hardware: Hardware, rows: int, length: int) -> int:
    """Plain TRL on the pairs of `kc`: padded batches, the reference in each step."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from knowtuning.training.engine.adapters import trained_adapter

    class Trainer(DPOTrainer):
        """TRL's, on token ids."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    data, columns = kc_rows(rows, length), ("prompt_ids", "chosen_ids", "rejected_ids")
    model = load_base(base, dtype=weights_dtype(hardware), device=hardware.device)
    weights = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2], "beta": 0.1}
    Trainer(
        model=trained_adapter(model, work / "ka"),
        args=DPOConfig(**plain(work / "trl-kc", hardware, KC_BATCH), **weights),
        train_dataset=Dataset.from_dict({name: [getattr(row, name) for row in data] for name in columns}),
        processing_class=load_tokenizer(base),
    ).train()
    return sum(2 * len(row.prompt_ids) + len(row.chosen_ids) + len(row.rejected_ids) for row in data)


def score(base: Path, hardware: Hardware, rows: int) -> Callable[[], int]:
    """Eight facts behind each prompt, rows of one length together; the call returns the tokens scored."""
    from knowtuning.knowledge.score import score as score_all

    draw, tokenizer = random.Random(2), load_tokenizer(base)
    word = tokenizer.decode
    records = [
        Atoms(
            id=str(n),
            question=word(tokens(draw, PROMPT)),
            answer="-",
            facts=[word(tokens(draw, FACT)) for _ in range(8)],
        )
        for n in range(rows)
    ]
    model = load_base(base, dtype=weights_dtype(hardware), device=hardware.device)
    settings: dict[str, Any] = {"template": "bare", "max_length": 2048, "batch_tokens": hardware.batch_tokens}
    return lambda: score_all(records, model, tokenizer, **settings).tokens


def predict(base: Path, hardware: Hardware, rows: int, length: int) -> Callable[[], int]:
    """Answers of up to `length` tokens; the call returns the tokens generated."""
    from knowtuning.inference.decoders import ModelDecoder
    from knowtuning.inference.predict import predict as predict_all

    draw, tokenizer = random.Random(3), load_tokenizer(base)
    examples = [
        Example(id=str(n), question=tokenizer.decode(tokens(draw, PROMPT)), answer="-") for n in range(rows)
    ]
    model = load_base(base, dtype=weights_dtype(hardware), device=hardware.device)
    decoder = ModelDecoder(model, tokenizer, batch_tokens=hardware.batch_tokens)
    settings: dict[str, Any] = {"template": "bare", "max_new_tokens": length}
    return lambda: sum(answer.tokens for answer in predict_all(examples, decoder, tokenizer, **settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--micro-batch", type=int, default=4)
    options = parser.parse_args()
    hardware = Hardware(
        device=options.device,
        precision=options.precision,
        micro_batch=options.micro_batch,
        batch_tokens=32768,
        save_seconds=3600,
    )
    with tempfile.TemporaryDirectory() as name:
        base, work = Path(name) / "base", Path(name)
        parameters = make_base(base, options.shape, hardware)
        speed = peak(hardware, 8192 if options.shape == "7b" else 512)
        rows, length = options.rows, options.length
        # FLOPs a token: forward 2 N; backward 2 N more, since frozen weights need no gradient. What gradient
        # checkpointing computes again is not counted. KC adds a forward for its reference.
        table: list[tuple[str, Callable[[], Callable[[], int]], int]] = [
            ("train_ka", lambda: partial(sft, base, work, hardware, rows, length), 4),
            ("train_ka, TRL", lambda: partial(trl_sft, base, work, hardware, rows, length), 4),
            ("train_kc", lambda: partial(kc, base, work, hardware, rows, length), 6),
            ("train_kc, TRL", lambda: partial(trl_kc, base, work, hardware, rows, length), 6),
            ("score", lambda: score(base, hardware, rows), 2),
            ("predict", lambda: predict(base, hardware, rows, length // 4), 2),
        ]
        print(f"{parameters / 1e9:.3f} B parameters; {options.precision} peak {speed / 1e12:.2f} TFLOP/s\n")
        print("| stage | seconds | tokens/s | MFU % |\n|---|---:|---:|---:|")
        for stage, prepare, factor in table:
            work_of = prepare()
            _settle(hardware)
            start = time.perf_counter()
            count = work_of()
            _settle(hardware)
            seconds = time.perf_counter() - start
            share = 100 * factor * parameters * count / seconds / speed
            print(f"| {stage} | {seconds:.1f} | {count / seconds:,.0f} | {share:.1f} |", flush=True)


if __name__ == "__main__":
    main()
