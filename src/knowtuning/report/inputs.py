"""The files of a run, as the report reads them. What a run does not have is absent, not an error."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning import look
from knowtuning.core.records import Example, Judgement, Prediction, Record, Scores, iter_jsonl, read_jsonl
from knowtuning.core.storage import open_text, read_json
from knowtuning.core.tables import grouped
from knowtuning.systems import EVERY, METHOD, ON_REQUEST, trained

# A row of a CSV or TSV file: these columns are text, all others numbers.
Row = dict[str, Any]
_TEXT = {"group", "system", "metric", "ablation"}
TRAINED = {system.section: name for name, system in trained().items()}
# The metrics files that the page shows. Others in the folder are none of its business.
METRICS = (
    *("data", "base", "extract", "score", "rewrite", "perturb", *TRAINED),
    *("triples", *(f"pairs_{name}" for name in ON_REQUEST)),
    *("probe", "verify", "systems", "differences", "facts", "judge", "ppl", "audit"),
)
ABLATION = ("group", "ablation", "metric", "value", "low", "high")
CURVES = tuple(
    prefix + name
    for name in ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
    for prefix in ("", "eval_")
)


SAMPLE = 3  # records of every file of training data


@dataclass(frozen=True)
class RecordSample:
    """Some records that systems are trained on. records: ids, and what `look` shows of each."""

    path: Path
    systems: list[str]
    total: int
    records: Sequence[tuple[str, Sequence[look.Field]]]


@dataclass(frozen=True)
class Inputs:
    """Everything the page shows.

    systems: those that answered, in the order of the method. metrics: name of the file -> its content.
    groups: rows of plots/groups.csv. curves: stage -> name -> (step, value).
    ablations: rows of ABLATION, of a study over several runs: the full method minus the ablation.
    human: what `stages.annotate import` wrote. training: of every file that is there.
    """

    params: Mapping[str, Any]
    examples: Sequence[Example]
    predictions: Mapping[str, Mapping[str, Prediction]]
    scores: Mapping[str, Mapping[str, Scores]]
    judgements: Sequence[Judgement]
    metrics: Mapping[str, Any]
    groups: Sequence[Row]
    ppl: Sequence[Row]
    calibration: Sequence[Row]
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
    ablations: Sequence[Row]
    human: Mapping[str, Any]
    training: Sequence[RecordSample]

    @property
    def systems(self) -> list[str]:
        return list(self.scores)


def read(
    root: Path,
    *,
    split: str,
    params: Mapping[str, Any],
    ablations: Path | None = None,
    human: Path | None = None,
    tokens: bool = False,
) -> Inputs:
    """Read the finished evaluation of the checkout at `root`.

    split: whose questions were answered. params: the parameters to show. ablations: CSV of a study. human:
    JSON of a human evaluation. tokens: say which tokens of training pairs count, for which the base model of
    this checkout is read. Raises ValueError where a score has no question or no answer.
    """
    data, metrics, plots = root / "data", root / "metrics", root / "plots"
    rows = read_jsonl(data / "evaluation/answers.jsonl", Scores)
    by_system = grouped(rows, lambda row: row.system)
    scores = {s: {row.question: row for row in by_system[s]} for s in EVERY if s in by_system}
    asked = {row.question for row in rows}
    path, judged = data / f"prepared/{split}.jsonl", data / "verification/judgements.jsonl"
    examples = [example for example in read_jsonl(path, Example) if example.id in asked]
    if len(examples) != len(asked):
        raise ValueError(
            f"{path}: found {len(examples)} of the {len(asked)} questions that were scored; "
            "expected all of them; run evaluate again"
        )
    study = table(ablations) if ablations else []
    if ablations and not (study and set(ABLATION) <= study[0].keys()):
        columns = ", ".join(study[0]) if study else "no row"
        raise ValueError(f"{ablations}: found {columns}; expected the columns {', '.join(ABLATION)}")
    # Another run may have had further baselines, whose files are still there.
    absent = ON_REQUEST.keys() - scores.keys()
    hidden = {f"{kind}_{name}" for name in absent for kind in ("pairs", "train")}
    hidden |= {"triples"} if "kg" in absent else set()
    return Inputs(
        params=params,
        examples=examples,
        predictions={system: _answers(data / f"predictions/{system}.jsonl", asked) for system in scores},
        scores=scores,
        judgements=read_jsonl(judged, Judgement) if judged.exists() else [],
        metrics={
            name: read_json(metrics / f"{name}.json")
            for name in METRICS
            if name not in hidden and (metrics / f"{name}.json").exists()
        },
        groups=table(plots / "groups.csv"),
        ppl=table(plots / "ppl.csv"),
        calibration=table(plots / "calibration.csv"),
        curves={
            stage: {} if stage in hidden else _curves(plots / stage / "plots/metrics") for stage in TRAINED
        },
        ablations=study,
        human=read_json(human) if human else {},
        training=_samples(scores, root, tokens=tokens),
    )


def _samples(systems: Iterable[str], root: Path, *, tokens: bool) -> list[RecordSample]:
    """A few records of every file that one of the systems is trained on, those of the method first."""
    samples: dict[Path, RecordSample] = {}
    for system in sorted(systems, key=lambda name: name != METHOD):
        pairs = EVERY[system].objective == "preference"
        for source in EVERY[system].data:
            path = root / source.path
            if source.path in samples:
                samples[source.path].systems.append(system)
            elif path.is_file():
                encoder = look.encoder_of(system) if tokens and pairs else None
                every: list[Record] = list(iter_jsonl(path, source.record))
                shown = [(each.id, look.fields(each, encoder)) for each in look.drawn(every, SAMPLE, 0)]
                samples[source.path] = RecordSample(source.path, [system], len(every), shown)
    return list(samples.values())


def _answers(path: Path, asked: set[str]) -> dict[str, Prediction]:
    answers = {each.id: each for each in read_jsonl(path, Prediction) if each.id in asked}
    if answers.keys() != asked:
        odd = min(asked - answers.keys())
        raise ValueError(f"{path}: no answer to {odd!r}, which was scored; run predict and evaluate again")
    return answers


def table(path: Path, delimiter: str = ",") -> list[Row]:
    """Rows of a delimited file with a header; none without a file. Raises ValueError for a bad cell."""
    if not path.exists():
        return []
    with open_text(path, newline="") as stream:
        return [
            {
                key: cell if key in _TEXT else _number(cell, f"{path}:{line}: {key}")
                for key, cell in row.items()
            }
            for line, row in enumerate(csv.DictReader(stream, delimiter=delimiter), 2)
        ]


def _number(cell: str | None, where: str) -> float:
    try:
        return float(cell or "")
    except ValueError as error:
        raise ValueError(f"{where}: found {cell!r}, expected a number; make the file anew") from error


def _curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """The curves that a training stage logged."""
    tables = {name: table(folder / f"{name}.tsv", "\t") for name in CURVES}
    return {
        name: [(row["step"], row[name.rpartition("/")[2]]) for row in rows]
        for name, rows in tables.items()
        if rows
    }
