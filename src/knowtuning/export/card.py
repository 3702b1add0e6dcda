"""The model card of an exported system, filled from the files of the run that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.core.storage import read_json
from knowtuning.evaluation.metrics import label, leading, metric
from knowtuning.report.inputs import table
from knowtuning.systems import BASELINE, EVERY, METHOD

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run has written about itself.

    params: params.yaml as a mapping. metrics: the files of metrics/ by their names. values: (system, metric)
    -> mean with its interval (value, low, high), over all test questions; empty before evaluate.
    """

    params: Tree
    metrics: Tree
    values: Mapping[tuple[str, str], tuple[float, float, float]]


def read_run(params: Tree, metrics: Path, groups: Path) -> RunFiles:
    """The run of the checkout; metrics: its folder of JSON files, groups: plots/groups.csv."""
    values = {
        (row["system"], row["metric"]): (row["value"], row["low"], row["high"])
        for row in table(groups)
        if row["group"] == "overall"
    }
    return RunFiles(params, {path.stem: read_json(path) for path in sorted(metrics.glob("*.json"))}, values)


def lineage(system: str) -> list[str]:
    """The systems that a system continues, the first trained first, and itself."""
    before = EVERY[system].continues
    return [*(lineage(before) if before else []), system]


def base_line(run: RunFiles) -> str:
    """The base model, and what says which one it is."""
    base = run.metrics.get("base", {})
    if base.get("commit") == "local":
        return f"the files in `{base['id']}`"
    if "id" in base:
        return f"[{base['id']}](https://huggingface.co/{base['id']}) at commit `{base['commit']}`"
    if "sha256" in base:
        return f"the file `{base['file']}` with sha256 `{base['sha256']}`"
    return f"trained from scratch, {base.get('parameters', 0):,} parameters, on `data/prepared/corpus.txt`"


def data_line(run: RunFiles) -> str:
    """Where the training data come from, and how many questions they are."""
    prepare = run.params["prepare"]
    descriptions = {
        "world": "a generated closed world of invented towns",
        "file": "the file `{train}`",
        "medquad_xml": "MedQuAD, `{path}`, types {types}",
        "hub": "the data set {id} at revision {revision}",
    }
    kind = prepare["source"]
    source = descriptions.get(kind, kind).format(**prepare.get(kind, {}))
    kept = run.metrics.get("data", {}).get("train", {}).get("kept", "an unknown number of")
    return f"{source}: {kept} questions with their answers"


def step_line(run: RunFiles, system: str) -> str:
    """How one system was trained, in a line of a list."""
    entry, section = EVERY[system], run.params[EVERY[system].section]
    keys = ("lr", "epochs", "batch", "schedule", "loss", "beta", "gamma", "counted", "reference")
    settings = ", ".join(f"{key} {section[key]}" for key in keys if key in section)
    start = f"continues `{entry.continues}`" if entry.continues else "a new LoRA adapter"
    rows = run.metrics.get(entry.section, {}).get("train_rows")
    data = " and ".join(f"`{data.path}`" for data in entry.data)
    return f"- `{system}`, {entry.label}: {start}; {rows} rows of {data}; {settings}"


def method_lines(run: RunFiles, system: str) -> list[str]:
    """The trainings behind a system, its LoRA and the teacher that wrote its data."""
    lora, teacher = run.params["lora"], run.params["teacher"]
    author = teacher["model"] if teacher["backend"] == "openai" else f"the backend `{teacher['backend']}`"
    return [
        *(step_line(run, name) for name in lineage(system)),
        f"- LoRA: r {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']}, targets {lora['targets']}",
        *([f"- Teacher: {author}"] if system != BASELINE else []),
        f"- Seed: {run.params['seed']}",
    ]


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def metrics_table(run: RunFiles, system: str) -> str:
    """The leading metrics of a system and of the baseline, their difference, with intervals."""
    names = leading([name for of_system, name in run.values if of_system == system])
    if not names:
        return "Not evaluated yet: run `dvc repro` and export again."
    differences = run.metrics["differences"].get(system, {}).get("overall", {})
    others = [BASELINE] if system != BASELINE else []
    rows = [["metric", "unit", system, *others, *(f"{system} − {other}" for other in others)]]
    rows.append(["---"] * len(rows[0]))
    for name in names:
        row = [label(name), metric(name).unit, *(_interval(*run.values[s, name]) for s in (system, *others))]
        if others:
            change = differences.get(name)
            row.append(_interval(change["mean"], change["low"], change["high"], "+") if change else "–")
        rows.append(row)
    share = f"{100 * run.params['evaluate']['confidence']:g} % intervals"
    questions = run.metrics["systems"][system]["overall"]["questions"]
    head = f"Means over {questions} questions of the split `{run.params['predict']['split']}`, {share}."
    verdict = [run.metrics["verdict"]["line"]] if system == METHOD and "verdict" in run.metrics else []
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([head, *verdict, lines])


def front_matter(run: RunFiles) -> str:
    """The YAML that model hubs read; the licence is for the user to fill in."""
    base = run.metrics.get("base", {})
    base_model = f"base_model: {base['id']}\n" if base.get("commit") not in (None, "local") else ""
    return (
        "---\n"
        "license:  # yours to choose, within those of the base model and of the data\n"
        f"{base_model}"
        "library_name: transformers\npipeline_tag: text-generation\ntags: [knowtuning, lora]\n"
        "---"
    )


def card(run: RunFiles, system: str, prompt: str, sha256: str, commands: Sequence[tuple[str, str]]) -> str:
    """README.md of the exported folder.

    prompt: the prompt of the question "QUESTION". sha256: of the adapter. commands: what to serve the model
    with, and the command.
    """
    shown = "\n".join(f"    {line}" for line in prompt.splitlines())
    served = "\n\n".join(f"{what}:\n\n```sh\n{command}\n```" for what, command in commands)
    parts = [
        front_matter(run),
        f"# {system}: {EVERY[system].label}",
        "Fine-tuned with KnowTuning (Lyu et al., EMNLP 2024, arXiv 2402.11176).",
        f"- Base model: {base_line(run)}\n- Data: {data_line(run)}\n- Adapter: sha256 `{sha256}`",
        "## Method",
        "\n".join(method_lines(run, system)),
        "## Results",
        metrics_table(run, system),
        "## Prompt",
        f"The chat template makes of the question QUESTION:\n\n{shown}",
        "An answer ends at any of the tokens that `generation_config.json` names.",
        "## Use",
        served,
        "## Licence",
        "To be filled in, here and at `license` above: of this model, of its base model, of its data.",
    ]
    return "\n\n".join(parts) + "\n"
