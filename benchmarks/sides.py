"""One side of a comparison, as a process of its own: `python benchmarks/sides.py TASK SIDE FOLDER`.

Prints one JSON line: seconds of the work itself (without imports), what it processed, and values
that both sides must agree on. benchmarks/compare.py runs the sides in turns.
"""

from __future__ import annotations

import importlib
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

from knowtuning.config.schema import Params  # noqa: E402
from knowtuning.core.params import load  # noqa: E402
from knowtuning.core.records import Atoms, Example, Preference, Rejected, Rewrite, read_jsonl  # noqa: E402
from knowtuning.runtime.machine import Hardware, detect, set_up  # noqa: E402
from knowtuning.runtime.models import load_base, load_system, load_tokenizer  # noqa: E402
from knowtuning.runtime.prompting import encode_completion, encode_prompt, render  # noqa: E402
from knowtuning.training.engine.rows import Encoder, split_rows  # noqa: E402

Found = dict[str, Any]
# What our training imports while it runs: the trainers, and DVC behind DVCLive.
TRAINING = ("knowtuning.training.engine.trainers", "knowtuning.training.engine.checkpoints", "dvc.repo")


def imported(*names: str) -> None:
    """Import what a side would otherwise import while its time runs."""
    for name in ("peft", "transformers.models.llama.modeling_llama", *names):
        importlib.import_module(name)


class Watch:
    """Seconds by the clock, and seconds of the processor: with one thread the latter ignores other load."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def times(self) -> Found:
        return {"seconds": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


class Count:
    """Counts the tokens that pass through a model's layers, padding included: with gradients and without."""

    def __init__(self) -> None:
        self.trained = self.passed = 0

    def watch(self, model: Any) -> Any:
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        causal.base_model.register_forward_pre_hook(self._add, with_kwargs=True)
        return model

    def _add(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        import torch

        tokens = (args[0] if args else kwargs["input_ids"]).numel()
        if torch.is_grad_enabled():
            self.trained += tokens
        else:
            self.passed += tokens

    def found(self) -> Found:
        return {"trained": self.trained, "passed": self.passed}


def base(folder: Path, hardware: Hardware) -> Any:
    import torch

    return load_base(folder / "models/base", dtype=torch.float32, device=hardware.device)


def score_ours(folder: Path, params: Params, hardware: Hardware, budget: str = "") -> Found:
    """All facts of the project, several behind one prompt, as the stage does."""
    from knowtuning.inference.ready import make_ready
    from knowtuning.knowledge.score import score
    from stages.score import batch_budget

    records = read_jsonl(folder / "data/knowledge/atoms.jsonl", Atoms)
    model, tokenizer = base(folder, hardware), load_tokenizer(folder / "models/base")
    make_ready(model)
    count = Count()
    count.watch(model)
    watch = Watch()
    done = score(
        records,
        model,
        tokenizer,
        template=params.model.template,
        max_length=params.model.max_length,
        batch_tokens=batch_budget(budget, hardware),
    )
    times = watch.times()
    values = [fact.logps for row in done.results.rows for fact in row.facts]
    return {**times, "values": values, **count.found()}


def score_alone(folder: Path, params: Params, hardware: Hardware) -> Found:
    """The same with one question a pass (KNOWTUNING_SCORE_BATCH_TOKENS=0)."""
    return score_ours(folder, params, hardware, "0")


def score_lm_eval(folder: Path, params: Params, hardware: Hardware) -> Found:
    """The same pairs of tokens through lm-evaluation-harness, batch size 16 (its best here)."""
    from lm_eval.models.huggingface import HFLM

    tokenizer, count = load_tokenizer(folder / "models/base"), Count()
    plain = count.watch(base(folder, hardware))
    model = HFLM(pretrained=plain, tokenizer=tokenizer, batch_size=16, device=hardware.device)
    watch = Watch()
    requests = []
    for record in read_jsonl(folder / "data/knowledge/atoms.jsonl", Atoms):
        prompt = encode_prompt(tokenizer, params.model.template, record.question)
        for fact in record.facts:
            ids = encode_completion(tokenizer, params.model.template, fact, eos=False)
            if len(prompt) + len(ids) > params.model.max_length:
                continue  # set aside by our side
            requests.append(((record.question, f"{len(requests)} {fact}"), prompt, ids))
    answers = model._loglikelihood_tokens(requests, disable_tqdm=True)
    times = watch.times()
    return {**times, "values": [round(value, 4) for value, _ in answers], **count.found()}


def encoded(task: str, folder: Path, params: Params) -> tuple[list[Any], list[Any]]:
    """The records of a training task and their rows; all of them fit."""
    encoder = Encoder(load_tokenizer(folder / "models/base"), params.model.template, params.model.max_length)
    records: list[Any]
    if task == "train_kc":
        records = read_jsonl(folder / "data/knowledge/kc.jsonl", Preference)
        rows = [encoder.pair(record) for record in records]
    else:
        records = [
            *read_jsonl(folder / "data/prepared/train.jsonl", Example),
            *read_jsonl(folder / "data/knowledge/ka.jsonl", Rewrite),
        ]
        rows = [encoder.example(record) for record in records]
    return records, [row for row in rows if not isinstance(row, Rejected)]


def parts(task: str, folder: Path, params: Params) -> tuple[list[Any], list[Any]]:
    """The records that our side trains on and those it holds out."""
    records, rows = encoded(task, folder, params)
    found = {record.id: record for record in records}
    train, held = split_rows(rows, getattr(params, task).eval_rows, params.seed)
    return [found[row.id] for row in train], [found[row.id] for row in held]


def train_ka_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.training import sft

    imported(*TRAINING)
    _, rows = encoded("train_ka", folder, params)
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
    """The hyper-parameters of a section; everything else as a peer has it, but for gradient checkpointing.

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
        "weight_decay": section.weight_decay,
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
        "disable_tqdm": True,
    }


def text_of(tokenizer: Any, params: Params, question: str) -> str:
    return f"{tokenizer.bos_token}{render(params.model.template, question)}"


def with_trl(
    task: str,
    folder: Path,
    params: Params,
    hardware: Hardware,
    *,
    kind: str,
    adapter: Callable[[Any], Any],
    row: Callable[[Any], dict[str, str]],
    **options: Any,
) -> Found:
    """Plain TRL (its trainer of a kind): texts, random batches, the same rows held out."""
    import trl
    from datasets import Dataset

    imported(f"trl.trainer.{kind.lower()}_trainer")
    tokenizer, count = load_tokenizer(folder / "models/base"), Count()
    train, held = (
        Dataset.from_list([{"prompt": text_of(tokenizer, params, r.question), **row(r)} for r in part])
        for part in parts(task, folder, params)
    )
    trainer_of, config_of = getattr(trl, f"{kind}Trainer"), getattr(trl, f"{kind}Config")
    with tempfile.TemporaryDirectory() as out:
        arguments = trainer_arguments(getattr(params, task), hardware, out, params.seed)
        watch = Watch()
        trainer = trainer_of(
            model=count.watch(adapter(base(folder, hardware))),
            args=config_of(**arguments, **options, max_length=params.model.max_length),
            train_dataset=train,
            eval_dataset=held,
            processing_class=tokenizer,
        )
        trainer.train()
        times = watch.times()
    state = trainer.state
    return {**times, "steps": state.global_step, "loss": float(state.best_metric), **count.found()}


def train_ka_trl(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.training.engine.adapters import new_adapter

    return with_trl(
        "train_ka",
        folder,
        params,
        hardware,
        kind="SFT",
        adapter=lambda model: new_adapter(model, params.lora),
        row=lambda record: {"completion": f" {record.answer.strip()}"},
    )


def train_kc_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    from knowtuning.training import kc

    imported(*TRAINING)
    _, rows = encoded("train_kc", folder, params)
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
    """The reference, a copy of the adapter, runs beside the policy in each step."""
    from knowtuning.training.engine.adapters import trained_adapter

    return with_trl(
        "train_kc",
        folder,
        params,
        hardware,
        kind="DPO",
        adapter=lambda model: trained_adapter(model, folder / "models/ka"),
        row=lambda pair: {"chosen": f" {pair.chosen.strip()}", "rejected": f" {pair.rejected.strip()}"},
        beta=params.train_kc.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, params.train_kc.gamma],
    )


def predict_ours(folder: Path, params: Params, hardware: Hardware) -> Found:
    import torch

    from knowtuning.inference.decoders import ModelDecoder
    from knowtuning.inference.predict import predict
    from knowtuning.inference.ready import make_ready

    imported()
    examples, tokenizer = questions(folder, params), load_tokenizer(folder / "models/base")
    adapter, count = folder / "models/kc", Count()
    watch = Watch()
    model = load_system(folder / "models/base", adapter, dtype=torch.float32, device=hardware.device)
    make_ready(model)
    answers = predict(
        examples,
        ModelDecoder(count.watch(model), tokenizer, batch_tokens=hardware.batch_tokens),
        tokenizer,
        template=params.model.template,
        max_new_tokens=params.predict.max_new_tokens,
    )
    return {**watch.times(), "values": [answer.answer for answer in answers], **count.found()}


def questions(folder: Path, params: Params) -> list[Example]:
    examples = read_jsonl(folder / f"data/prepared/{params.predict.split}.jsonl", Example)
    return examples[: params.predict.limit]


def predict_generate(folder: Path, params: Params, hardware: Hardware) -> Found:
    """What one would write by hand: the adapter on the model, 16 questions at a time in file order."""
    import torch
    from peft import PeftModel

    imported()
    examples, tokenizer = questions(folder, params), load_tokenizer(folder / "models/base")
    count = Count()
    watch = Watch()
    model = count.watch(PeftModel.from_pretrained(base(folder, hardware), str(folder / "models/kc")).eval())
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
    return {**watch.times(), "values": answers, **count.found()}


def llamafactory(task: str) -> Callable[[Path, Params, Hardware], Found]:
    """Its side of a task, run by the Python of its own environment."""

    def side(folder: Path, params: Params, hardware: Hardware) -> Found:
        from benchmarks import llamafactory_side

        found: Found = getattr(llamafactory_side, task)(folder, params, hardware)
        return found

    return side


LLAMA_FACTORY = "LLaMA-Factory"
TASKS: dict[str, dict[str, Callable[[Path, Params, Hardware], Found]]] = {
    "score": {"ours": score_ours, "ours, one by one": score_alone, "lm-evaluation-harness": score_lm_eval},
    "train_ka": {"ours": train_ka_ours, "TRL": train_ka_trl, LLAMA_FACTORY: llamafactory("train_ka")},
    "train_kc": {"ours": train_kc_ours, "TRL": train_kc_trl, LLAMA_FACTORY: llamafactory("train_kc")},
    "predict": {"ours": predict_ours, "generate": predict_generate, LLAMA_FACTORY: llamafactory("predict")},
}


def main() -> None:
    task, side, name = sys.argv[1:]
    folder = Path(name)
    hardware = (set_up if side.startswith("ours") else detect)(os.environ)
    found = TASKS[task][side](folder, load(folder / "params.yaml", Params), hardware)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
