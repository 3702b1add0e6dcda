"""LLaMA-Factory's sides, run by the Python of its own environment: `sides.py TASK LLaMA-Factory FOLDER`.

Its templates tokenise prompt and completion apart, as ours do, so a template of its own gives it the tokens
that we train on. What still differs: it rounds the width of a training batch up to a multiple of 8, cuts
long rows on both sides of the boundary, and in DPO its NLL(chosen) is a mean of per-sequence means.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from llamafactory.data.formatter import EmptyFormatter, StringFormatter
from llamafactory.data.template import register_template
from llamafactory.train import trainer_utils
from llamafactory.train.dpo import workflow as dpo
from llamafactory.train.sft import workflow as sft
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback

from benchmarks.sides import Count, Found, Watch, parts, questions, trainer_arguments
from knowtuning.config.schema import Params
from knowtuning.core.storage import read_json, write_json
from knowtuning.runtime.machine import Hardware
from knowtuning.runtime.prompting import render

register_template(
    name="ours",
    format_prefix=EmptyFormatter(slots=[{"bos_token"}]),
    format_user=StringFormatter(slots=["{{content}}"]),
    format_assistant=StringFormatter(slots=[" {{content}}", {"eos_token"}]),
)


class NoLastEvaluation(TrainerCallback):
    """It would evaluate once more after training; no other side does."""

    def on_train_end(self, args: Any, *_: Any, **__: Any) -> None:
        args.do_eval = False


def counted() -> Count:
    """Counts in every model that LLaMA-Factory loads from now on, the reference included."""
    count = Count()
    for module in (sft, dpo, trainer_utils):
        plain = module.load_model
        module.load_model = lambda *args, plain=plain, **options: count.watch(plain(*args, **options))
    return count


def write_rows(folder: Path, name: str, rows: list[dict[str, str]], *, ranking: bool) -> None:
    """A data set under a name, and its entry in the list of data sets."""
    write_json(folder / f"{name}.json", rows)
    columns = {key: key for key in rows[0] if key != "instruction"} | {"prompt": "instruction"}
    if "output" in columns:
        columns["response"] = columns.pop("output")
    listed = folder / "dataset_info.json"
    entry = {"file_name": f"{name}.json", "ranking": ranking, "columns": columns}
    write_json(listed, {**(read_json(listed) if listed.exists() else {}), name: entry})


def common(folder: Path, params: Params, hardware: Hardware, data: str) -> dict[str, Any]:
    """Arguments of every task; `data` is the folder of its data sets and of its cache."""
    return {
        "model_name_or_path": str(folder / "models/base"),
        "finetuning_type": "lora",
        "template": "ours",
        "dataset_dir": data,
        "cache_dir": data,
        "cutoff_len": params.model.max_length,
        "use_cpu": hardware.device == "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "output_dir": f"{data}/out",
    }


def train(
    task: str, folder: Path, params: Params, hardware: Hardware, rows: list[list[Any]], **options: Any
) -> Found:
    section = getattr(params, task)
    with tempfile.TemporaryDirectory() as data:
        for name, part in zip(("train", "held"), rows, strict=True):
            write_rows(Path(data), name, part, ranking=task == "train_kc")
        arguments = trainer_arguments(section, hardware, f"{data}/out", params.seed)
        # Its own switch; it would turn checkpointing on otherwise.
        arguments["disable_gradient_checkpointing"] = not arguments.pop("gradient_checkpointing")
        arguments |= common(folder, params, hardware, data)
        arguments |= {"dataset": "train", "eval_dataset": "held", "do_train": True, **options}
        count, watch = counted(), Watch()
        run_exp(arguments, [NoLastEvaluation()])
        times = watch.times()
        state = read_json(Path(data) / "out/trainer_state.json")
    return {**times, "steps": state["global_step"], "loss": state["best_metric"], **count.found()}


def train_ka(folder: Path, params: Params, hardware: Hardware) -> Found:
    def row(record: Any) -> dict[str, str]:
        question = render(params.model.template, record.question)
        return {"instruction": question, "output": record.answer.strip()}

    lora, targets = params.lora, params.lora.targets
    return train(
        "train_ka",
        folder,
        params,
        hardware,
        [[row(record) for record in part] for part in parts("train_ka", folder, params)],
        stage="sft",
        lora_rank=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_target="all" if targets == "all-linear" else ",".join(targets),
    )


def train_kc(folder: Path, params: Params, hardware: Hardware) -> Found:
    """The KA adapter goes on. A second model with that adapter is the reference; its default is the base."""

    def row(pair: Any) -> dict[str, str]:
        question = render(params.model.template, pair.question)
        return {"instruction": question, "chosen": pair.chosen.strip(), "rejected": pair.rejected.strip()}

    ka, section = str(folder / "models/ka"), params.train_kc
    return train(
        "train_kc",
        folder,
        params,
        hardware,
        [[row(pair) for pair in part] for part in parts("train_kc", folder, params)],
        stage="dpo",
        adapter_name_or_path=ka,
        ref_model=str(folder / "models/base"),
        ref_model_adapters=ka,
        pref_loss="sigmoid",
        pref_beta=section.beta,
        pref_ftx=section.gamma,
    )


def predict(folder: Path, params: Params, hardware: Hardware) -> Found:
    """Its greedy prediction in batches of 16, without the BLEU and ROUGE that it adds."""
    sft.ComputeSimilarity = lambda **_: lambda _: {}
    with tempfile.TemporaryDirectory() as data:
        rows = [
            {"instruction": render(params.model.template, e.question), "output": e.answer}
            for e in questions(folder, params)
        ]
        write_rows(Path(data), "questions", rows, ranking=False)
        arguments = {
            **common(folder, params, hardware, data),
            "stage": "sft",
            "do_predict": True,
            "predict_with_generate": True,
            "do_sample": False,
            "max_new_tokens": params.predict.max_new_tokens,
            "adapter_name_or_path": str(folder / "models/kc"),
            "eval_dataset": "questions",
            "per_device_eval_batch_size": 16,
        }
        count, watch = counted(), Watch()
        run_exp(arguments)
        times = watch.times()
        lines = (Path(data) / "out/generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return {**times, "values": [json.loads(line)["predict"].strip() for line in lines], **count.found()}
