"""One side of a comparison, as a process of its own: `python -m benchmarks.sides TASK SIDE FOLDER`.

Prints one JSON line: seconds of the work itself (without imports; score without loading too), and what the
sides must agree on. benchmarks.compare runs the sides in turns. LLaMA-Factory's run in an environment of
its own, which has other versions of transformers and TRL: its functions may not use our trainers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from knowtuning.config.schema import Params
from knowtuning.core.params import load
from knowtuning.core.records import Example, Facts, Pair, Rejected, Rewrite, read_jsonl
from knowtuning.core.storage import read_json, write_json
from knowtuning.model.hardware import Hardware, detect
from knowtuning.model.load import load_base
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.training.rows import RowEncoder, split_rows

Outcome = dict[str, Any]
BATCH = 16  # of lm-evaluation-harness (its best here), and of the peers' predictions


@dataclass(frozen=True)
class Project:
    """The folder that all sides read, with its parameters."""

    folder: Path
    params: Params
    hardware: Hardware
    formatter: Formatter

    def path(self, name: str) -> Path:
        return self.folder / "models" / name

    def model(self) -> Any:
        return load_base(self.path("base"), dtype=self.hardware.weights_dtype, device=self.hardware.device)

    def facts(self) -> list[Facts]:
        return read_jsonl(self.folder / "data/knowledge/facts.jsonl", Facts)

    def questions(self) -> list[Example]:
        predict = self.params.predict
        return read_jsonl(self.folder / f"data/prepared/{predict.split}.jsonl", Example)[: predict.limit]

    def records(self, task: str) -> list[Any]:
        knowledge = self.folder / "data/knowledge"
        if task == "train_kc":
            return read_jsonl(knowledge / "pairs.jsonl", Pair)
        originals = read_jsonl(self.folder / "data/prepared/train.jsonl", Example)
        return [*originals, *read_jsonl(knowledge / "rewrites.jsonl", Rewrite)]

    def rows(self, task: str) -> list[Any]:
        """The token ids of `records`, without those that do not fit."""
        encoder = RowEncoder(self.formatter, self.params.model.max_length)
        rows = [encoder.row(record) for record in self.records(task)]
        return [row for row in rows if not isinstance(row, Rejected)]

    def parts(self, task: str) -> list[list[Any]]:
        """The records that our side trains on, and those it holds out."""
        records = {record.id: record for record in self.records(task)}
        count, seed = getattr(self.params, task).eval_rows, self.params.seed
        parts = split_rows(self.rows(task), count, seed, section=task, source=str(self.folder))
        return [[records[row.id] for row in part] for part in parts]

    def prompt(self, question: str) -> str:
        return f"{self.formatter.tokenizer.bos_token or ''}{self.formatter.text(question)}"

    def opening(self) -> str:
        """What the template writes between a prompt and its answer."""
        ids = self.formatter.completion("x", end=False)
        return str(self.formatter.tokenizer.decode(ids)).removesuffix("x")


def texts(record: Any) -> dict[str, str]:
    """The completion of an example, or those of a pair."""
    if isinstance(record, Pair):
        return {"chosen": record.chosen.strip(), "rejected": record.rejected.strip()}
    return {"completion": record.answer.strip()}


def score_ours(project: Project) -> Outcome:
    from knowtuning.knowledge.score import score

    records, model = project.facts(), project.model()
    start = time.perf_counter()
    results = score(
        records,
        model,
        project.formatter,
        max_length=project.params.model.max_length,
        batch_tokens=project.hardware.forward_tokens,
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "values": [fact.logps for row in results.rows for fact in row.facts]}


def score_lm_eval(project: Project) -> Outcome:
    """The same pairs of tokens, each fact behind a prompt of its own."""
    from lm_eval.models.huggingface import HFLM

    formatter, limit = project.formatter, project.params.model.max_length
    device = project.hardware.device
    model = HFLM(pretrained=project.model(), tokenizer=formatter.tokenizer, batch_size=BATCH, device=device)
    start = time.perf_counter()
    requests = []
    for record in project.facts():
        prompt = formatter.prompt(record.question)
        for fact in record.facts:
            ids = formatter.completion(fact, end=False)
            if len(prompt) + len(ids) <= limit:  # the others are set aside on our side too
                requests.append(((record.question, f"{len(requests)} {fact}"), prompt, ids))
    answers = model._loglikelihood_tokens(requests, disable_tqdm=True)
    return {"seconds": time.perf_counter() - start, "values": [round(value, 4) for value, _ in answers]}


def train_ours(task: str, project: Project) -> Outcome:
    from knowtuning.training import trainer
    from knowtuning.training.arguments import TrainingRun

    params, rows = project.params, project.rows(task)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run = TrainingRun(task, project.hardware, work / "state", params.seed)
        base, ka, out, plots = project.path("base"), project.path("ka"), work / "out", work / "plots"
        start = time.perf_counter()
        if task == "train_kc":
            section = params.train_kc
            summary, _ = trainer.train_preference(rows, base, ka, out, plots, params=section, run=run)
        else:
            schedule, lora = params.train_ka, params.lora
            summary = trainer.train_sft(rows, base, out, plots, params=schedule, lora=lora, run=run)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "steps": summary.steps, "loss": summary.best_eval_loss}


def trainer_arguments(task: str, project: Project, out: str) -> dict[str, Any]:
    """The hyper-parameters of a section; everything else as a peer has it, but for gradient checkpointing.

    Checkpointing saves memory for time and would make the peer slower still.
    """
    section = getattr(project.params, task)
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
        "bf16": project.hardware.precision == "bfloat16",
        "use_cpu": project.hardware.device == "cpu",
        "seed": project.params.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def train_trl(task: str, project: Project) -> Outcome:
    """Plain TRL: texts, random batches, the same rows held out; the reference of KC runs in each step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from knowtuning.training.adapters import new_adapter, trained_adapter

    params, opening = project.params, project.opening()

    def row(record: Any) -> dict[str, str]:
        completions = {key: opening + text for key, text in texts(record).items()}
        return {"prompt": project.prompt(record.question), **completions}

    train, held_out = (Dataset.from_list([row(record) for record in part]) for part in project.parts(task))
    with tempfile.TemporaryDirectory() as out:
        arguments = trainer_arguments(task, project, out) | {"max_length": params.model.max_length}
        start = time.perf_counter()
        if task == "train_kc":
            section = params.train_kc
            losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, section.gamma]}
            model = trained_adapter(project.model(), project.path("ka"))
            kind, config = DPOTrainer, DPOConfig(**arguments, beta=section.beta, **losses)
        else:
            model = new_adapter(project.model(), params.lora)
            kind, config = SFTTrainer, SFTConfig(**arguments)
        trainer = kind(
            model=model,
            args=config,
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=project.formatter.tokenizer,
        )
        trainer.train()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "steps": trainer.state.global_step, "loss": float(trainer.state.best_metric)}


def predict_ours(project: Project) -> Outcome:
    from knowtuning.generation.generate import Decoding, generate, load_backend, predictions, prompts_of

    formatter = project.formatter
    decoding = Decoding(max_new_tokens=project.params.predict.max_new_tokens)
    examples = project.questions()
    start = time.perf_counter()
    prompts = prompts_of(examples, formatter, decoding.max_new_tokens, None)
    backend = load_backend(project.path("base"), project.path("kc"), formatter, decoding, project.hardware)
    answers = predictions(examples, generate(prompts, backend, decoding), formatter, decoding)
    return {"seconds": time.perf_counter() - start, "values": [answer.answer for answer in answers]}


def predict_generate(project: Project) -> Outcome:
    """What one would write by hand: the adapter on the model, questions in batches, in file order."""
    import torch
    from peft import PeftModel

    tokenizer, new_tokens = project.formatter.tokenizer, project.params.predict.max_new_tokens
    prompts = [project.prompt(example.question) for example in project.questions()]
    answers: list[str] = []
    start = time.perf_counter()
    model = PeftModel.from_pretrained(project.model(), str(project.path("kc"))).eval()
    tokenizer.padding_side = "left"
    for first in range(0, len(prompts), BATCH):
        part = prompts[first : first + BATCH]
        batch = tokenizer(part, return_tensors="pt", padding=True, add_special_tokens=False)
        batch = batch.to(project.hardware.device)
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)
        tails = out[:, batch["input_ids"].shape[1] :]
        answers += [text.strip() for text in tokenizer.batch_decode(tails, skip_special_tokens=True)]
    return {"seconds": time.perf_counter() - start, "values": answers}


def _llama_factory(project: Project, data: Path, **rows: list[dict[str, str]]) -> dict[str, Any]:
    """Write data sets by name, and make a template that gives LLaMA-Factory our tokens; its arguments."""
    from llamafactory.data.formatter import EmptyFormatter, StringFormatter
    from llamafactory.data.template import register_template

    register_template(
        name="ours",
        format_prefix=EmptyFormatter(slots=[{"bos_token"}]),
        format_user=StringFormatter(slots=["{{content}}"]),
        format_assistant=StringFormatter(slots=[project.opening() + "{{content}}", {"eos_token"}]),
    )
    listed = {}
    for name, part in rows.items():
        write_json(data / f"{name}.json", part)
        columns = {"response" if key == "completion" else key: key for key in part[0]}
        listed[name] = {"file_name": f"{name}.json", "ranking": "chosen" in columns, "columns": columns}
    write_json(data / "dataset_info.json", listed)
    return {
        "model_name_or_path": str(project.path("base")),
        "finetuning_type": "lora",
        "template": "ours",
        "dataset_dir": str(data),
        "cache_dir": str(data),
        "cutoff_len": project.params.model.max_length,
        "use_cpu": project.hardware.device == "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "output_dir": str(data / "out"),
    }


def train_llama_factory(task: str, project: Project) -> Outcome:
    """The reference of KC is a second model with the KA adapter; its default would be the base model."""
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    class NoLastEvaluation(TrainerCallback):
        """It would evaluate once more after training; no other side does."""

        def on_train_end(self, args: Any, *_: Any, **__: Any) -> None:
            args.do_eval = False

    params, ka = project.params, str(project.path("ka"))
    if task == "train_kc":
        options: dict[str, Any] = {
            "stage": "dpo",
            "adapter_name_or_path": ka,
            "ref_model": str(project.path("base")),
            "ref_model_adapters": ka,
            "pref_loss": "sigmoid",
            "pref_beta": params.train_kc.beta,
            "pref_ftx": params.train_kc.gamma,
        }
    else:
        targets = params.lora.targets
        options = {
            "stage": "sft",
            "lora_rank": params.lora.r,
            "lora_alpha": params.lora.alpha,
            "lora_dropout": params.lora.dropout,
            "lora_target": "all" if targets == "all-linear" else ",".join(targets),
        }
    train, held_out = (
        [{"prompt": project.formatter.text(record.question), **texts(record)} for record in part]
        for part in project.parts(task)
    )
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        arguments = trainer_arguments(task, project, str(data / "out"))
        # Its own switch; it would turn checkpointing on otherwise.
        arguments["disable_gradient_checkpointing"] = not arguments.pop("gradient_checkpointing")
        arguments |= _llama_factory(project, data, train=train, held_out=held_out)
        arguments |= {"dataset": "train", "eval_dataset": "held_out", "do_train": True, **options}
        start = time.perf_counter()
        run_exp(arguments, [NoLastEvaluation()])
        seconds = time.perf_counter() - start
        state = read_json(data / "out/trainer_state.json")
    return {"seconds": seconds, "steps": state["global_step"], "loss": state["best_metric"]}


def predict_llama_factory(project: Project) -> Outcome:
    """Its greedy prediction, without the BLEU and ROUGE that it adds."""
    from llamafactory.train.sft import workflow
    from llamafactory.train.tuner import run_exp

    workflow.ComputeSimilarity = lambda **_: lambda _: {}
    questions = [
        {"prompt": project.formatter.text(example.question), **texts(example)}
        for example in project.questions()
    ]
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        arguments = {
            **_llama_factory(project, data, questions=questions),
            "stage": "sft",
            "do_predict": True,
            "predict_with_generate": True,
            "do_sample": False,
            "max_new_tokens": project.params.predict.max_new_tokens,
            "adapter_name_or_path": str(project.path("kc")),
            "eval_dataset": "questions",
            "per_device_eval_batch_size": BATCH,
        }
        start = time.perf_counter()
        run_exp(arguments)
        seconds = time.perf_counter() - start
        lines = (data / "out/generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return {"seconds": seconds, "values": [json.loads(line)["predict"].strip() for line in lines]}


OURS, LLAMA_FACTORY, LM_EVAL = "ours", "LLaMA-Factory", "lm-evaluation-harness"
TASKS: dict[str, dict[str, Callable[[Project], Outcome]]] = {
    "score": {OURS: score_ours, LM_EVAL: score_lm_eval},
    **{
        task: {
            OURS: partial(train_ours, task),
            "TRL": partial(train_trl, task),
            LLAMA_FACTORY: partial(train_llama_factory, task),
        }
        for task in ("train_ka", "train_kc")
    },
    "predict": {OURS: predict_ours, "generate": predict_generate, LLAMA_FACTORY: predict_llama_factory},
}


def main() -> None:
    task, side, name = sys.argv[1:]
    folder = Path(name)
    params = load(folder / "params.yaml", Params)
    formatter = load_formatter(folder / "models/base", params.model)
    # What would be imported while time runs; DVC behind DVCLive by our trainers.
    ours = ["dvc.repo"] if side == OURS and task.startswith("train") else []
    for module in ("peft", "transformers.models.llama.modeling_llama", *ours):
        importlib.import_module(module)
    print(json.dumps(TASKS[task][side](Project(folder, params, detect(os.environ), formatter))))


if __name__ == "__main__":
    main()
