"""Human evaluation: `python -m stages.annotate export`, later `python -m stages.annotate import FILE...`.

Not a stage of the pipeline: people stand between the two. `export` writes blinded sheets (CSV, one an
annotator) and the same tasks for Label Studio, and apart from them the key that says which system gave which
answer. `import` reads filled sheets or Label Studio's JSON export and writes rates, agreement among people
and agreement with the judge. See docs/human-evaluation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from knowtuning.config.evaluate import EvaluateStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Judgement, read_jsonl, read_predictions, write_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.evaluation.stats import Resampling
from knowtuning.human import forms, items, verdicts
from knowtuning.human.agreement import summarise
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import BASELINE, METHOD
from stages import PARAMS, run

DATA, FOLDER = Path("data"), Path("data/human")


def export(arguments: argparse.Namespace) -> None:
    """Write sheets, tasks and key."""
    params = load(PARAMS, EvaluateStage)
    if arguments.key.exists():
        raise ValueError(
            f"{arguments.key}: exists; people may be at work with it: name other --out and --key"
        )
    if arguments.annotators < 1:
        raise ValueError(f"--annotators is {arguments.annotators}; expected 1 or more")
    split, limit = params.predict.split, params.predict.limit
    examples = read_jsonl(DATA / f"prepared/{split}.jsonl", Example)[:limit]
    systems = params.systems
    predictions = read_predictions(DATA / "predictions", systems, examples)
    drawn = items.draw_items(
        examples,
        {system: {row.id: row for row in rows} for system, rows in predictions.items()},
        [pair(text, systems) for text in arguments.pairs],
        questions=arguments.questions,
        both_orders=arguments.orders == "both",
        seed=params.seed,
    )
    shown = {"reference": not arguments.no_reference}
    for number in range(1, arguments.annotators + 1):
        path = arguments.out / f"annotator-{number}.csv"
        forms.write_sheet(path, items.sheet_order(drawn, number, params.seed), arguments.aspects, **shown)
    tasks = items.sheet_order(drawn, 0, params.seed)
    forms.write_tasks(arguments.out / "label-studio.json", tasks, **shown)
    with atomic_write(arguments.out / "label-studio.xml") as stream:
        stream.write(forms.interface(arguments.aspects, **shown))
    # The key last: where it is, the rest is complete.
    write_jsonl(arguments.key, [item.key for item in drawn])
    equal = len(drawn) - len(tasks)
    print(
        f"{arguments.out}: {len(tasks)} items for {arguments.annotators} annotators; {equal} equal, not asked"
    )
    print(f"{arguments.key}: which system gave which answer; keep it from the annotators")


def collect(arguments: argparse.Namespace) -> None:
    """Read what annotators filled in and write the numbers."""
    params = load(PARAMS, EvaluateStage)
    key = {each.id: each for each in read_jsonl(arguments.key, items.KeyItem)}
    votes = []
    for path in arguments.files:
        if path.suffix == ".json":
            votes += forms.read_export(path, key, arguments.aspects)
        else:
            votes += forms.read_sheet(path, key, arguments.aspects, path.stem)
    if not votes:
        raise ValueError(f"{arguments.files[0]}: found no vote; expected 1, 2 or tie in an aspect's column")
    path = arguments.judgements
    judgements = [row.model_dump() for row in read_jsonl(path, Judgement)] if path.exists() else []
    joined = verdicts.join(votes, key, arguments.aspects)
    cases = len({(k.question, k.a, k.b) for k in key.values()}) * len(arguments.aspects)
    resampling = Resampling(params.seed, params.evaluate.resamples, params.evaluate.confidence)
    summary = summarise(joined, judgements, resampling, cases=cases)
    write_json(arguments.out, summary)
    print("\n".join(table(summary["pairs"])))
    print(f"{summary['unanswered']} of {cases} cases unanswered; all numbers in {arguments.out}")


def table(pairs: dict[str, Any]) -> list[str]:
    return [
        f"{name:9} {aspect:12} win {row['win']:5.1f}  tie {row['tie']:5.1f}  lose {row['lose']:5.1f}  "
        f"net {row['net']:+6.1f} [{row['net_low']:+.1f}, {row['net_high']:+.1f}]  n {row['n']}"
        for name, aspects in pairs.items()
        for aspect, row in aspects.items()
    ]


def pair(text: str, systems: Collection[str]) -> tuple[str, str]:
    """`kc-sft` as two of the systems. Raises ValueError."""
    pairs = {f"{a}-{b}": (a, b) for a in systems for b in systems if a != b}
    if text not in pairs:
        raise ValueError(f"--pairs: found {text!r}, expected two of {', '.join(systems)}, such as kc-sft")
    return pairs[text]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    out = commands.add_parser("export", help="write sheets for annotators")
    out.set_defaults(do=export)
    out.add_argument("--questions", type=int, default=50, help="questions to ask about (default 50)")
    out.add_argument(
        "--pairs", nargs="+", default=[f"{METHOD}-{BASELINE}"], help="pairs of systems (default %(default)s)"
    )
    out.add_argument("--annotators", type=int, default=2, help="sheets to write (default 2)")
    out.add_argument("--orders", choices=("both", "one"), default="both", help="orders each pair is shown in")
    out.add_argument("--no-reference", action="store_true", help="do not show the reference answer")
    out.add_argument("--out", type=Path, default=FOLDER / "sheets", help="folder for the annotators")
    back = commands.add_parser("import", help="read filled sheets or a JSON export of Label Studio")
    back.set_defaults(do=collect)
    back.add_argument("files", nargs="+", type=Path, help="filled CSV sheets, or a .json export")
    back.add_argument("--judgements", type=Path, default=DATA / "verification/judgements.jsonl")
    back.add_argument("--out", type=Path, default=Path("metrics/human.json"), help="where the numbers go")
    for command in (out, back):
        command.add_argument("--aspects", nargs="+", choices=ASPECTS, default=list(ASPECTS))
        command.add_argument("--key", type=Path, default=FOLDER / "key.jsonl", help="the key file")
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    run(main)
