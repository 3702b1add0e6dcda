"""One side of a comparison, as a process of its own: `python benchmarks/sides.py TASK SIDE FOLDER`.

Prints one JSON line: seconds of the work itself (without imports), what it processed, and values
that both sides must agree on. benchmarks/compare.py runs the sides in turns.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knowtuning.config import load  # noqa: E402
from knowtuning.config.schema import Params  # noqa: E402
from knowtuning.hardware import Hardware, detect  # noqa: E402
from knowtuning.models import load_base, load_system, load_tokenizer  # noqa: E402
from knowtuning.prompting import encode_completion, encode_prompt, render  # noqa: E402
from knowtuning.records import Atoms, Example, Preference, Rewrite, read_jsonl  # noqa: E402
from knowtuning.training.rows import Encoder, split_rows  # noqa: E402

Found = dict[str, Any]


class Watch:
    """Seconds by the clock, and seconds of the processor: with one thread the latter ignores other load."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def times(self) -> Found:
        return {"seconds": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


class Count:
    """Counts the tokens that pass through a model in training, with padding and without."""

    def __init__(self) -> None:
        self.processed = self.real = 0

    def watch(self, model: Any) -> Any:
        model.register_forward_pre_hook(self._add, with_kwargs=True)
        return model

    def _add(self, model: Any, _: Any, kwargs: dict[str, Any]) -> None:
        if not model.training:
            return
        batch = kwargs.get("logps_of")
        if batch is None:
            self.processed += kwargs["input_ids"].numel()
            self.real += int(kwargs["attention_mask"].sum())
        else:
            self.processed += batch.input_ids.numel()
            self.real += int((batch.tree >= 0).sum())

    def found(self) -> Found:
        return {"processed": self.processed, "real": self.real}


def base(folder: Path, hardware: Hardware) -> Any:
    import torch

    return load_base(folder / "models/base", dtype=torch.float32, device=hardware.device)


def score_ours(folder: Path, params: Params, hardware: Hardware, batch_tokens: int = 0) -> Found:
    """All facts of the project, several behind one prompt."""
    from knowtuning.knowledge.score import score

    records = read_jsonl(folder / "data/knowledge/atoms.jsonl", Atoms)
    model, tokenizer = base(folder, hardware), load_tokenizer(folder / "models/base")
    watch = Watch()
    done = score(
        records,
        model,
        tokenizer,
        template=params.model.template,
        max_length=params.model.max_length,
        batch_tokens=batch_tokens,
    )
    times = watch.times()
    values = [fact.logps for row in done.results.rows for fact in row.facts]
    return {**times, "values": values, "processed": done.processed, "real": done.tokens}


def score_batched(folder: Path, params: Params, hardware: Hardware) -> Found:
    """The same with rows of similar length together (KNOWTUNING_SCORE_BATCH_TOKENS=2048)."""
    return score_ours(folder, params, hardware, 2048)


def score_lm_eval(folder: Path, params: Params, hardware: Hardware) -> Found:
    """The same pairs of tokens through lm-evaluation-harness, batch size 16 (its best here)."""
    from lm_eval.models.huggingface import HFLM

    tokenizer = load_tokenizer(folder / "models/base")
    model = HFLM(
        pretrained=base(folder, hardware), tokenizer=tokenizer, batch_size=16, device=hardware.device
    )
    watch = Watch()
    requests = []
    for record in read_jsonl(folder / "data/knowledge/atoms.jsonl", Atoms):
        prompt = encode_prompt(tokenizer, params.model.template, record.question)
        for fact in record.facts:
            ids = encode_completion(tokenizer, params.model.template, fact, eos=False)
            requests.append(((record.question, f"{len(requests)} {fact}"), prompt, ids))
    answers = model._loglikelihood_tokens(requests, disable_tqdm=True)
    times = watch.times()
    real = sum(len(prompt) + len(ids) for _, prompt, ids in requests)
    return {**times, "values": [round(value, 4) for value, _ in answers], "real": real}


def ka_records(folder: Path) -> list[Example | Rewrite]:
    originals = read_jsonl(folder / "data/prepared/train.jsonl", Example)
    return [*originals, *read_jsonl(folder / "data/knowledge/ka.jsonl", Rewrite)]


def train_ka_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.training import sft

    encoder = Encoder(load_tokenizer(folder / "models/base"), params.model.template, params.model.max_length)
    rows = [row for record in ka_records(folder) if hasattr(row := encoder.example(record), "labels")]
    count, plain = Count(), sft.new_adapter
    sft.new_adapter = lambda *args: count.watch(plain(*args))
    with tempfile.TemporaryDirectory() as name:
        watch = Watch()
        summary = sft.train_sft(
            rows,
            folder / "models/base",
            Path(name) / "out",
            Path(name) / "plots",
            section="train_ka",
            params=params.train_ka,
            lora=params.lora,
            hardware=hardware,
            state=Path(name) / "state",
            seed=params.seed,
        )
        times = watch.times()
    return {**times, "steps": summary.steps, "loss": summary.best_eval_loss, **count.found()}


def trainer_arguments(section: Any, hardware: Hardware, out: str, seed: int) -> dict[str, Any]:
    """The hyper-parameters of a section; everything else as TRL has it, but for its gradient checkpointing.

    Checkpointing saves memory for time and would make the peer slower still.
    """
    return {
        "output_dir": out,
        "per_device_train_batch_size": section.batch,
        "per_device_eval_batch_size": section.batch,
        "learning_rate": section.lr,
        "num_train_epochs": section.epochs,
        "lr_scheduler_type": section.schedule,
        "warmup_steps": section.warmup,
        "max_grad_norm": section.max_grad_norm,
        "eval_strategy": "steps",
        "eval_steps": section.eval_every,
        "save_steps": section.eval_every,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "gradient_checkpointing": False,
        "bf16": hardware.precision == "bfloat16",
        "use_cpu": hardware.device == "cpu",
        "seed": seed,
        "report_to": "none",
        "max_length": None,
        "disable_tqdm": True,
    }


def text_of(tokenizer: Any, params: Params, question: str) -> str:
    return f"{tokenizer.bos_token}{render(params.model.template, question)}"


def train_ka_trl(folder: Path, params: Params, hardware: Hardware) -> Found:
    """Plain TRL: texts, random batches, the same rows held out."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from knowtuning.training.adapters import new_adapter

    tokenizer = load_tokenizer(folder / "models/base")
    encoder = Encoder(tokenizer, params.model.template, params.model.max_length)
    texts = {record.id: record for record in ka_records(folder)}
    parts = split_rows(
        [row for record in texts.values() if hasattr(row := encoder.example(record), "labels")],
        params.train_ka.eval_rows,
        params.seed,
    )
    train, held = (
        Dataset.from_list(
            [
                {
                    "prompt": text_of(tokenizer, params, texts[row.id].question),
                    "completion": f" {texts[row.id].answer.strip()}",
                }
                for row in part
            ]
        )
        for part in parts
    )
    count = Count()
    with tempfile.TemporaryDirectory() as out:
        watch = Watch()
        trainer = SFTTrainer(
            model=count.watch(new_adapter(base(folder, hardware), params.lora)),
            args=SFTConfig(**trainer_arguments(params.train_ka, hardware, out, params.seed)),
            train_dataset=train,
            eval_dataset=held,
            processing_class=tokenizer,
        )
        trainer.train()
        times = watch.times()
    loss = float(trainer.state.best_metric or 0.0)
    return {**times, "steps": trainer.state.global_step, "loss": loss, **count.found()}


def train_kc_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.training import kc

    encoder = Encoder(load_tokenizer(folder / "models/base"), params.model.template, params.model.max_length)
    pairs = read_jsonl(folder / "data/knowledge/kc.jsonl", Preference)
    rows = [row for pair in pairs if hasattr(row := encoder.pair(pair), "chosen_ids")]
    count, plain = Count(), kc.trained_adapter
    kc.trained_adapter = lambda *args: count.watch(plain(*args))
    with tempfile.TemporaryDirectory() as name:
        watch = Watch()
        summary, _ = kc.train_kc(
            rows,
            folder / "models/base",
            folder / "models/ka",
            Path(name) / "out",
            Path(name) / "plots",
            params=params.train_kc,
            hardware=hardware,
            state=Path(name) / "state",
            seed=params.seed,
        )
        times = watch.times()
    return {**times, "steps": summary.steps, "loss": summary.best_eval_loss, **count.found()}


def train_kc_trl(folder: Path, params: Params, hardware: Hardware) -> Found:
    """Plain TRL: texts, random batches, the reference run beside the policy in each step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from knowtuning.training.adapters import trained_adapter

    tokenizer = load_tokenizer(folder / "models/base")
    encoder = Encoder(tokenizer, params.model.template, params.model.max_length)
    texts = {pair.id: pair for pair in read_jsonl(folder / "data/knowledge/kc.jsonl", Preference)}
    parts = split_rows(
        [row for pair in texts.values() if hasattr(row := encoder.pair(pair), "chosen_ids")],
        params.train_kc.eval_rows,
        params.seed,
    )
    train, held = (
        Dataset.from_list(
            [
                {
                    "prompt": text_of(tokenizer, params, texts[row.id].question),
                    "chosen": f" {texts[row.id].chosen.strip()}",
                    "rejected": f" {texts[row.id].rejected.strip()}",
                }
                for row in part
            ]
        )
        for part in parts
    )
    count, section = Count(), params.train_kc
    with tempfile.TemporaryDirectory() as out:
        watch = Watch()
        trainer = DPOTrainer(
            model=count.watch(trained_adapter(base(folder, hardware), folder / "models/ka")),
            args=DPOConfig(
                **trainer_arguments(section, hardware, out, params.seed),
                beta=section.beta,
                loss_type=["sigmoid", "sft"],
                loss_weights=[1.0, section.gamma],
            ),
            train_dataset=train,
            eval_dataset=held,
            processing_class=tokenizer,
        )
        trainer.train()
        times = watch.times()
    loss = float(trainer.state.best_metric or 0.0)
    return {**times, "steps": trainer.state.global_step, "loss": loss, **count.found()}


def predict_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.inference.predict import predict

    examples, tokenizer = questions(folder, params), load_tokenizer(folder / "models/base")
    adapter, processed = folder / "models/kc", Processed()
    watch = Watch()
    import torch

    model = load_system(folder / "models/base", adapter, dtype=torch.float32, device=hardware.device)
    answers = predict(
        examples,
        processed.watch(model),
        tokenizer,
        template=params.model.template,
        max_new_tokens=params.predict.max_new_tokens,
        batch_tokens=hardware.batch_tokens,
    )
    times = watch.times()
    prompts = sum(len(encode_prompt(tokenizer, params.model.template, e.question)) for e in examples)
    real = prompts + sum(answer.tokens for answer in answers)
    return {
        **times,
        "values": [answer.answer for answer in answers],
        "processed": processed.tokens,
        "real": real,
    }


class Processed:
    """Counts the tokens that a model processes, padding included."""

    def __init__(self) -> None:
        self.tokens = 0

    def watch(self, model: Any) -> Any:
        def add(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
            self.tokens += kwargs["input_ids"].numel()

        model.register_forward_pre_hook(add, with_kwargs=True)
        return model


def questions(folder: Path, params: Params) -> list[Example]:
    examples = read_jsonl(folder / f"data/prepared/{params.predict.split}.jsonl", Example)
    return examples[: params.predict.limit]


def predict_generate(folder: Path, params: Params, hardware: Hardware) -> Found:
    """What one would write by hand: the adapter on the model, 16 questions at a time in file order."""
    import torch
    from peft import PeftModel

    examples, tokenizer = questions(folder, params), load_tokenizer(folder / "models/base")
    processed = Processed()
    watch = Watch()
    model = PeftModel.from_pretrained(base(folder, hardware), str(folder / "models/kc")).eval()
    processed.watch(model.get_base_model())
    tokenizer.padding_side = "left"
    answers: list[str] = []
    for first in range(0, len(examples), 16):
        texts = [text_of(tokenizer, params, e.question) for e in examples[first : first + 16]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        batch = batch.to(hardware.device)
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=params.predict.max_new_tokens, do_sample=False)
        tails = out[:, batch["input_ids"].shape[1] :]
        answers += [text.strip() for text in tokenizer.batch_decode(tails, skip_special_tokens=True)]
    return {**watch.times(), "values": answers, "processed": processed.tokens}


TASKS: dict[str, dict[str, Callable[[Path, Params, Hardware], Found]]] = {
    "score": {"ours": score_ours, "ours, batched": score_batched, "lm-evaluation-harness": score_lm_eval},
    "train_ka": {"ours": train_ka_ours, "TRL": train_ka_trl},
    "train_kc": {"ours": train_kc_ours, "TRL": train_kc_trl},
    "predict": {"ours": predict_ours, "generate": predict_generate},
}


def main() -> None:
    task, side, name = sys.argv[1:]
    folder = Path(name)
    found = TASKS[task][side](folder, load(folder / "params.yaml", Params), detect(os.environ))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
