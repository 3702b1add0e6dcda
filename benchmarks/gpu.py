"""Speed on one GPU, apart from loading: `python -m benchmarks.gpu [--shape 7b] [--tasks sft dpo]`.

A model of random weights is made once, in memory. Each row of the table is one task on one side: ours as the
stages run it; TRL as it comes (micro-batch 4, gradient checkpointing); TRL at its best (no checkpointing, our
micro-batch, rows of a step by length, no cuDNN attention; Liger and flash-attention without padding where
they are installed); `generate` of transformers, and its continuous batching. All sides train on the same rows
with the same hyper-parameters. The first optimiser steps, or a first pass, warm up and do not count.

MFU is the share of the measured speed of a large matrix product. FLOPs a token, of N parameters: sft 4 N (a
frozen weight needs no gradient), dpo 6 N (the reference's forward pass included; tokens are those of both
sides, each with its prompt), score 2 N (a prompt counts once), generate 2 N (new tokens alone). Attention,
and what checkpointing computes again, are left out.

A small model on a fast card is bound by the processor, which starts its kernels. Accelerate's compilation of
each layer helps all sides of training; see docs/gpu.md for its variables.

`--profile sft` writes a table of torch's profiler for our side of one task instead. The variables of
docs/gpu.md (KNOWTUNING_MICRO_BATCH and others) hold here too. `--shape tiny --device cpu --precision
float32` runs anywhere in seconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")

import torch
import transformers
import trl
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.memory import config_of
from experiments.catalogue import ROOT
from knowtuning.config.training import LoraParams, Schedule
from knowtuning.core.storage import read_json, write_json
from knowtuning.generation.generate import Decoding, ModelBackend, generate
from knowtuning.model.batches import IGNORED
from knowtuning.model.hardware import Hardware, detect
from knowtuning.pretraining.scratch import train_tokenizer
from knowtuning.training.adapters import new_adapter
from knowtuning.training.arguments import TrainingRun, order_of, training_arguments
from knowtuning.training.logps import Question, add_head, fact_logps, question_batches
from knowtuning.training.rows import PairRow, Row
from knowtuning.training.trainer import (
    PairTrainer,
    RowTrainer,
    collate_pairs,
    collate_rows,
    reference_logps,
    with_reference,
)

WARM_UP = 2  # optimiser steps
FACTS, FACT = 8, 24  # facts a question, tokens a fact
BETA, GAMMA = 0.1, 0.2
FLASH_ATTENTION = transformers.utils.is_flash_attn_2_available()
LIGER = find_spec("liger_kernel") is not None
FLOPS = {"sft": 4, "dpo": 6, "score": 2, "generate": 2}
OURS, TRL, BEST = "ours", "TRL", "TRL at its best"
GENERATE, CONTINUOUS = "generate", "continuous batching"
SCHEDULE: dict[str, Any] = {
    "lr": 1e-4,
    "epochs": 1.0,
    "schedule": "cosine",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "eval_rows": 1,
    "eval_every": 1.0,
    "max_rejected": 0.0,
}


@dataclass(frozen=True)
class Shape:
    """A model's configuration and the work it gets.

    rows: least and most tokens of a sequence that is trained on, of which `prompt` are the prompt. steps:
    optimiser steps that count. matrix: size of the square matrices whose product is the machine's measure.
    """

    config: LlamaConfig
    lora: LoraParams
    rows: tuple[int, int]
    questions: int
    answers: int
    new_tokens: int
    steps: int = 4
    sft_batch: int = 32
    dpo_batch: int = 16
    prompt: int = 48
    matrix: int = 8192


SHAPES = {
    "7b": Shape(
        config_of("7B"),
        LoraParams(r=8, alpha=16, dropout=0.0, targets=["q_proj", "v_proj"]),
        rows=(512, 1024),
        questions=256,
        answers=96,
        new_tokens=256,
    ),
    "135m": Shape(
        config_of("0.1B"),
        LoraParams(r=16, alpha=32, dropout=0.0, targets="all-linear"),
        rows=(100, 200),
        questions=2000,
        answers=300,
        new_tokens=160,
    ),
    "tiny": Shape(
        LlamaConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=400
        ),
        LoraParams(r=8, alpha=16, dropout=0.0, targets="all-linear"),
        rows=(24, 48),
        questions=16,
        answers=8,
        new_tokens=16,
        sft_batch=8,
        dpo_batch=4,
        prompt=12,
        matrix=512,
    ),
}


@dataclass
class Meter:
    """What a row measures: seconds between start and stop, and the tokens that were processed meanwhile."""

    device: str
    profiled: bool = False
    seconds: float = 0.0
    tokens: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)

    def start(self) -> None:
        _synchronise(self.device)
        if self.profiled:
            self._profiler = torch.profiler.profile()
            self._profiler.start()
        self._started = time.perf_counter()

    def stop(self) -> None:
        _synchronise(self.device)
        self.seconds += time.perf_counter() - self._started
        if self.profiled:
            self._profiler.stop()
            key = "self_cpu_time_total" if self.device == "cpu" else "self_device_time_total"
            averages = self._profiler.key_averages()
            self.tables.append(averages.table(sort_by=key, row_limit=50, max_name_column_width=90))


class SteadySteps(transformers.TrainerCallback):
    """Times the optimiser steps that follow the warm-up."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == WARM_UP:
            self.meter.start()
        if state.global_step == state.max_steps:
            self.meter.stop()


@dataclass(frozen=True)
class Bench:
    """The model that all rows share. work: a temporary folder."""

    shape: Shape
    hardware: Hardware
    model: Any
    tokenizer: Any
    work: Path

    def run(self, task: str) -> TrainingRun:
        return TrainingRun(task, self.hardware, self.work, seed=0)

    def rows(self, task: str) -> tuple[list[Any], Schedule]:
        """Rows or pairs of all steps, each step's longest first; the sides of a pair are equally long."""
        draw, shape = random.Random(0), self.shape
        params = Schedule(**SCHEDULE, batch=shape.sft_batch if task == "sft" else shape.dpo_batch)
        rows: list[Any] = []
        for number in range((WARM_UP + shape.steps) * params.batch):
            prompt, length = _tokens(draw, shape.prompt), draw.randint(*shape.rows) - shape.prompt
            completions = [_tokens(draw, length) for _ in range(1 if task == "sft" else 2)]
            weights = [[1.0] * length] * 2
            if task == "sft":
                rows.append(Row(str(number), "", prompt, *completions))
            else:
                rows.append(PairRow(str(number), "", prompt, *completions, *weights))
        return [rows[index] for index in order_of(rows, params, seed=0)], params

    def prompts(self, count: int) -> list[list[int]]:
        draw, mean = random.Random(1), self.shape.prompt
        return [_tokens(draw, draw.randint(3 * mean // 4, 5 * mean // 4)) for _ in range(count)]

    def arguments(
        self, rows: Sequence[Row] | Sequence[PairRow], params: Schedule, task: str
    ) -> dict[str, Any]:
        """The arguments of our trainers as the stages have them, without validation and checkpoints."""
        # The rows come in their order of training.
        order = range(len(rows))
        arguments = training_arguments(rows, order, params, self.run(task), self.model.config)
        without = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        return {**arguments, **without, "logging_steps": 10}

    def trl_arguments(
        self, rows: Sequence[Row] | Sequence[PairRow], params: Schedule, task: str, *, best: bool
    ) -> dict[str, Any]:
        """The same hyper-parameters for TRL's trainers; everything else as TRL has it, or as is best."""
        micro_batch = min(4, params.batch)
        settings: dict[str, Any] = {}
        if best:
            micro_batch = self.arguments(rows, params, task)["per_device_train_batch_size"]
            settings = {"activation_checkpointing": False, "use_liger_kernel": LIGER}
        return {
            "output_dir": str(self.work),
            "per_device_train_batch_size": micro_batch,
            "gradient_accumulation_steps": params.batch // micro_batch,
            "num_train_epochs": 1,
            # So that it is known which tokens a step has.
            "train_sampling_strategy": "sequential",
            "learning_rate": params.lr,
            "lr_scheduler_type": params.schedule,
            "weight_decay": params.weight_decay,
            "max_grad_norm": params.max_grad_norm,
            "bf16": self.hardware.precision == "bfloat16",
            "use_cpu": self.hardware.device == "cpu",
            "save_strategy": "no",
            "max_length": None,
            "report_to": "none",
            "disable_tqdm": True,
            **settings,
        }

    @contextmanager
    def adapter(self) -> Iterator[Any]:
        """The model with a new adapter; afterwards without it, and without all that trainers set on it."""
        attention = self.model.config._attn_implementation
        model = new_adapter(self.model, self.shape.lora)
        try:
            yield model
        finally:
            model.unload()
            self.model.activation_checkpointing_disable()
            # Those of checkpointing, which makes gradients begin at the embeddings.
            self.model.get_input_embeddings()._forward_hooks.clear()
            self.model.config.use_cache = True
            self.model.set_attn_implementation(attention)
            # The fused head of TRL.
            self.model.__dict__.pop("forward", None)

    def train(self, trainer: Any, meter: Meter, rows: Sequence[Row] | Sequence[PairRow]) -> None:
        """Run a trainer on `rows`, in their order."""
        args = trainer.args
        meter.notes = {
            "micro_batch": args.per_device_train_batch_size,
            "checkpointing": args.activation_checkpointing,
        }
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(SteadySteps(meter))
        trainer.train()
        batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
        meter.tokens = sum(row.tokens for row in rows[WARM_UP * batch :])


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _tokens(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(3, 300) for _ in range(count)]


def _shuffled(rows: Sequence[Any], batch: int) -> list[Any]:
    """The rows of each step in a random order."""
    draw = random.Random(4)
    steps = [list(rows[start : start + batch]) for start in range(0, len(rows), batch)]
    return [row for step in steps for row in draw.sample(step, len(step))]


def sft_ours(bench: Bench, meter: Meter) -> None:
    rows, params = bench.rows("sft")
    add_head(bench.model)
    with bench.adapter() as model:
        trainer = RowTrainer(
            model=model,
            args=SFTConfig(
                **bench.arguments(rows, params, "sft"), dataset_kwargs={"skip_prepare_dataset": True}
            ),
            data_collator=partial(collate_rows, padding=bench.tokenizer.pad_token_id),
            train_dataset=Dataset.from_list([vars(row) for row in rows]),
            eval_dataset=Dataset.from_list([vars(rows[0])]),
            processing_class=bench.tokenizer,
        )
        with disable_input_dtype_casting(model, active=bench.hardware.precision == "bfloat16"):
            bench.train(trainer, meter, rows)


def sft_trl(bench: Bench, meter: Meter, *, best: bool) -> None:
    rows, params = bench.rows("sft")
    if not best:
        rows = _shuffled(rows, params.batch)
    columns = [
        {
            "input_ids": [*row.prompt, *row.completion],
            "labels": [*[IGNORED] * len(row.prompt), *row.completion],
        }
        for row in rows
    ]
    flash = best and FLASH_ATTENTION
    with bench.adapter() as model:
        if flash:
            bench.model.set_attn_implementation("flash_attention_2")
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**bench.trl_arguments(rows, params, "sft", best=best), padding_free=flash),
            train_dataset=Dataset.from_list(columns),
            processing_class=bench.tokenizer,
        )
        bench.train(trainer, meter, rows)


def dpo_ours(bench: Bench, meter: Meter) -> None:
    pairs, params = bench.rows("dpo")
    warm_up = WARM_UP * params.batch
    add_head(bench.model)
    with bench.adapter() as model:
        logps = reference_logps(model, pairs[:warm_up], "adapter", bench.run("dpo"))
        meter.start()
        logps += reference_logps(model, pairs[warm_up:], "adapter", bench.run("dpo"))
        meter.stop()
        trainer = PairTrainer(
            loss="dpo",
            gamma=GAMMA,
            model=model,
            args=DPOConfig(**bench.arguments(pairs, params, "dpo"), beta=BETA),
            data_collator=partial(collate_pairs, padding=bench.tokenizer.pad_token_id),
            train_dataset=Dataset.from_list(with_reference(pairs, logps)),
            processing_class=bench.tokenizer,
        )
        with disable_input_dtype_casting(model, active=bench.hardware.precision == "bfloat16"):
            bench.train(trainer, meter, pairs)


class TokenDPOTrainer(DPOTrainer):
    """TRL's, on token ids."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def dpo_trl(bench: Bench, meter: Meter, *, best: bool) -> None:
    """The reference, a copy of the adapter, runs in each step."""
    pairs, params = bench.rows("dpo")
    if not best:
        pairs = _shuffled(pairs, params.batch)
    columns = [
        {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected}
        for pair in pairs
    ]
    losses = {"beta": BETA, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, GAMMA]}
    with bench.adapter() as model:
        if best and FLASH_ATTENTION:
            bench.model.set_attn_implementation("flash_attention_2")
        trainer = TokenDPOTrainer(
            model=model,
            args=DPOConfig(**bench.trl_arguments(pairs, params, "dpo", best=best), **losses),
            train_dataset=Dataset.from_list(columns),
            processing_class=bench.tokenizer,
        )
        bench.train(trainer, meter, pairs)


def score_ours(bench: Bench, meter: Meter) -> None:
    draw, budget = random.Random(2), bench.hardware.forward_tokens
    questions = [
        Question(prompt, [_tokens(draw, draw.randint(FACT - 8, FACT + 8)) for _ in range(FACTS)])
        for prompt in bench.prompts(bench.shape.questions)
    ]
    batches = [[questions[index] for index in batch] for batch in question_batches(questions, budget)]
    add_head(bench.model)
    fact_logps(bench.model, batches[0], budget)
    meter.start()
    for batch in batches:
        fact_logps(bench.model, batch, budget)
    meter.stop()
    bench.model.__dict__.pop("forward", None)
    meter.tokens = sum(question.tokens for question in questions)


def generate_ours(bench: Bench, meter: Meter, *, recorded: bool = True) -> None:
    prompts = {str(number): prompt for number, prompt in enumerate(bench.prompts(bench.shape.answers))}

    def answers(new_tokens: int) -> int:
        ends, padding = [bench.tokenizer.eos_token_id], bench.tokenizer.pad_token_id
        decoding, budget = Decoding(max_new_tokens=new_tokens), bench.hardware.batch_tokens
        backend = ModelBackend(bench.model, decoding, ends, padding, batch_tokens=budget)
        backend.recorded &= recorded
        samples = generate(prompts, backend, decoding)
        return sum(len(answer) for answers in samples.values() for answer in answers)

    answers(min(4, bench.shape.new_tokens))
    meter.start()
    meter.tokens = answers(bench.shape.new_tokens)
    meter.stop()


def generate_continuous(bench: Bench, meter: Meter) -> None:
    """From the first prompt's start to the last answer's end; CUDA graphs are captured before that."""
    config = GenerationConfig(
        max_new_tokens=bench.shape.new_tokens,
        do_sample=False,
        eos_token_id=bench.tokenizer.eos_token_id,
        pad_token_id=bench.tokenizer.pad_token_id,
    )
    outputs = bench.model.generate_batch(inputs=bench.prompts(bench.shape.answers), generation_config=config)
    spans = [output.lifespan for output in outputs.values() if output.error is None]
    if len(spans) < bench.shape.answers:
        raise RuntimeError(f"{len(spans)} of {bench.shape.answers} prompts have an answer")
    meter.seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    meter.tokens = sum(len(output.generated_tokens) for output in outputs.values())


# TRL at its best comes last: what Liger replaces stays replaced.
ROWS: list[tuple[str, str, Callable[[Bench, Meter], None]]] = [
    ("sft", OURS, sft_ours),
    ("sft", TRL, partial(sft_trl, best=False)),
    ("dpo", OURS, dpo_ours),
    ("dpo", TRL, partial(dpo_trl, best=False)),
    ("score", OURS, score_ours),
    ("generate", OURS, generate_ours),
    ("generate", GENERATE, partial(generate_ours, recorded=False)),
    ("generate", CONTINUOUS, generate_continuous),
    ("sft", BEST, partial(sft_trl, best=True)),
    ("dpo", BEST, partial(dpo_trl, best=True)),
]


def random_model(shape: Shape, hardware: Hardware) -> tuple[Any, Any]:
    """A Llama of random weights on the device, frozen, and a tokenizer whose tokens it has."""
    tokenizer = train_tokenizer(["The export of town 7 is tin."], 300)
    shape.config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    with torch.device(hardware.device):
        model = AutoModelForCausalLM.from_config(shape.config, dtype=hardware.weights_dtype)
    return model.eval().requires_grad_(False), tokenizer


def matrix_speed(hardware: Hardware, size: int) -> float:
    """FLOP/s of a product of square matrices in the precision of training: the best of 5 times 10."""
    dtype = torch.bfloat16 if hardware.precision == "bfloat16" else torch.float32
    matrix = torch.randn(size, size, device=hardware.device, dtype=dtype)
    seconds = []
    for _ in range(5):
        meter = Meter(hardware.device)
        meter.start()
        for _ in range(10):
            matrix @ matrix
        meter.stop()
        seconds.append(meter.seconds)
    return 20 * size**3 / min(seconds)


def measure(bench: Bench, call: Callable[[Bench, Meter], None], meter: Meter) -> dict[str, Any]:
    """What a row came to: its numbers, or the first line of its error."""
    gc.collect()
    if meter.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        call(bench, meter)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[0]}"[:200]}
    memory = torch.cuda.max_memory_allocated() / 1e9 if meter.device == "cuda" else None
    return {
        "tokens_per_second": round(meter.tokens / meter.seconds, 1),
        "seconds": round(meter.seconds, 3),
        "tokens": meter.tokens,
        "peak_gb": memory and round(memory, 2),
        **meter.notes,
    }


def table_row(row: dict[str, Any]) -> str:
    """A line of the Markdown table."""
    if "error" in row:
        return f"| {row['task']} | {row['side']} | {row['error']} | | | | | |"
    cells = [row["task"], row["side"], f"{row['tokens_per_second']:,.0f}", f"{row['mfu_percent']:.1f}"]
    cells += ["" if row["peak_gb"] is None else f"{row['peak_gb']:.1f}", f"{row['seconds']:.2f}"]
    cells += [str(row.get("micro_batch", "")), {True: "yes", False: "no"}.get(row.get("checkpointing"), "")]
    return f"| {' | '.join(cells)} |"


def machine(hardware: Hardware) -> dict[str, str]:
    """What the numbers were measured on, and which optional kernels TRL at its best could use."""
    name = torch.cuda.get_device_name() if hardware.device == "cuda" else hardware.device
    versions = {module.__name__: str(module.__version__) for module in (torch, transformers, trl)}
    kernels = {"flash-attention": FLASH_ATTENTION, "Liger": LIGER}
    return {
        "device": name,
        "precision": hardware.precision,
        **versions,
        "kernels": ", ".join(name for name, there in kernels.items() if there) or "none",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--tasks", nargs="+", choices=FLOPS, default=list(FLOPS))
    parser.add_argument("--sides", nargs="+", choices=(OURS, TRL, BEST, GENERATE, CONTINUOUS))
    parser.add_argument("--steps", type=int, help="optimiser steps that count; default: those of the shape")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--profile", choices=FLOPS, help="profile our side of one task")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/gpu.json")
    options = parser.parse_args()
    settings = {"KNOWTUNING_DEVICE": options.device, "KNOWTUNING_PRECISION": options.precision}
    hardware, shape = detect({**os.environ, **settings}), SHAPES[options.shape]
    shape = replace(shape, steps=options.steps or shape.steps)
    if options.profile:  # the events of more would take minutes to add up
        shape = replace(shape, steps=1, new_tokens=min(32, shape.new_tokens))
        options.tasks, options.sides = [options.profile], [OURS]
    model, tokenizer = random_model(shape, hardware)
    parameters, speed = sum(p.numel() for p in model.parameters()), matrix_speed(hardware, shape.matrix)
    about = {**machine(hardware), "parameters": parameters, "matrix_tflops": round(speed / 1e12, 2)}
    print(f"{options.shape}: {', '.join(f'{key} {value}' for key, value in about.items())}\n")
    print("| task | side | tokens/s | MFU % | peak GB | seconds | micro-batch | checkpointing |")
    print("|---|---|---:|---:|---:|---:|---:|---|", flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(shape, hardware, model, tokenizer, Path(work))
        for task, side, call in ROWS:
            if task not in options.tasks or (options.sides and side not in options.sides):
                continue
            if side in (GENERATE, CONTINUOUS) and hardware.device != "cuda":
                continue
            # TRL as it comes has torch's default, which is cuDNN's.
            torch.backends.cuda.enable_cudnn_sdp(side == TRL)
            meter = Meter(hardware.device, profiled=bool(options.profile))
            row = {"task": task, "side": side, **measure(bench, call, meter)}
            if "error" not in row:
                flops = FLOPS[task] * parameters * row["tokens_per_second"]
                row["mfu_percent"] = round(100 * flops / speed, 2)
            print(table_row(row), flush=True)
            if meter.tables:
                path = options.out.with_name(f"{options.out.stem}-{options.shape}-{task}.txt")
                path.write_text("\n".join(meter.tables), encoding="utf-8")
                print(f"\n{path}")
            if options.profile:
                return
            rows.append(row)
            results = read_json(options.out) if options.out.exists() else {}
            write_json(options.out, {**results, options.shape: {**about, "rows": rows}})


if __name__ == "__main__":
    main()
