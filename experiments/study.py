"""Make docs/study.md and its figures from experiments: `python -m experiments.study [--kept] [--readme]`.

Nothing is typed by hand but the readings, which come from experiments/readings.md. Used are the
experiments in git that the code and params.yaml of this checkout made (`experiments.run` makes the missing
ones, `dvc exp pull` fetches them); with --baseline REV ... those that started from these commits. The scores
of their answers are kept in docs/study/scores; --kept takes what is there already too, where no newer run of
that name and seed is found, so that the page can be made again without the experiments. An experiment whose
seeds are missing is left out of its section, and named.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.catalogue import GRIDS, ROOT, aspect_ablations, aspects_alone, grid, overrides, sweep
from experiments.finished import FinishedRuns
from experiments.pooled import (
    GROUPS,
    OVERALL,
    Pairs,
    PooledScores,
    Rows,
    Subject,
    draw,
    markdown,
)
from experiments.scores import METRICS, TEXT_METRICS, Key, Scored, load, save, scored
from knowtuning.core.storage import atomic_write
from knowtuning.evaluation.stats import Resampling
from knowtuning.systems import BASELINE, EVERY, METHOD, SYSTEMS
from knowtuning.terminal import run

# In the folder of the figures.
SCORES = "scores"
READINGS = Path(__file__).resolve().parent / "readings.md"
CLAIMS = "What the paper claims, and what was found"
FULL = Subject("default", METHOD)
KA = Subject("default", "ka")
SFT = Subject("default", BASELINE)
SHORT = ("correct", "incorrect", "f1_at_k", "completeness", "order")
SUMMARY = (*SHORT, "rougeL_equal_length", "words")
# Experiment -> what it is called in a table.
ABLATIONS = {name: f"−{name.removeprefix('no-').upper()}" for name in ("no-ka", *aspect_ablations())}
ALONE = {name: f"{name.removeprefix('only-').upper()} alone" for name in aspects_alone()}
SWEEPS = {"rewrite.alpha": "alpha", "perturb.beta_delete": "beta_delete", "train_kc.gamma": "gamma"}
# One choice of the default run changed.
CHOICES = [
    name
    for name in (*grid("ablations"), *grid("knowledge"), *grid("losses"))
    if name not in ("default", *ABLATIONS, *ALONE)
]
# The worlds of experiments/disorder.yaml.
DISORDERED = "disordered"
# Experiments in worlds of which a section shows the systems, and its title.
WORLDS = {
    "world-large": "A larger world",
    "all-systems": "Baselines, as published",
    "all-systems-equal": "Baselines, with KC's number of steps",
    "kc-sampled": "KC on sampled answers",
}
# A real model on real text.
REAL = {
    "real-medquad": "MedQuAD",
    "real-medquad-1-epoch": "MedQuAD, one epoch of plain fine-tuning and of KA",
    "real-medquad-quarter": "MedQuAD, one epoch of both and a quarter of an epoch of KC",
    "real-medquad-paper-style": "MedQuAD, the paper's pairs",
    "real-medquad-first-version": "MedQuAD, first version",
    "real-medquad-4000": "MedQuAD, 4,000 rows",
    "real-medquad-4000-all-tokens": "MedQuAD, 4,000 rows, every token of the pairs counts",
    "real-medquad-4000-quarter": "MedQuAD, 4,000 rows, a quarter of an epoch of KC",
    "real-medquad-4000-paper-style": "MedQuAD, 4,000 rows, the paper's pairs",
    "real-dolly": "Dolly",
    "real-dolly-all": "Dolly, all rows",
}
# An experiment on real text of which sft and kc are shown, and the one whose kc theirs is compared with.
OTHER_RECIPE = {
    "real-medquad-1-epoch": "real-medquad",
    "real-medquad-quarter": "real-medquad-1-epoch",
    "real-medquad-paper-style": "real-medquad-quarter",
    "real-medquad-4000-all-tokens": "real-medquad-4000",
    "real-medquad-4000-quarter": "real-medquad-4000",
    "real-medquad-4000-paper-style": "real-medquad-4000-all-tokens",
}
# All experiments of the study, in its order.
STUDIED = list(dict.fromkeys([*(name for part in GRIDS for name in grid(part)), *REAL]))
# Those of which the study shows all systems, or those that OTHER_RECIPE says; of the others it is kc.
WHOLE = ("default", DISORDERED, *WORLDS, *REAL)
# Around the tables in the README that this script writes.
MARKS = ("<!-- results: begin -->", "<!-- results: end -->")


def both(scores: PooledScores, rows: Rows, pairs: Pairs, metrics: Sequence[str] = METRICS) -> str:
    """The table of means and the one of differences."""
    differences = markdown(scores.differences(pairs, metrics), signed=True)
    return f"{markdown(scores.means(rows, metrics))}\n\n{differences}"


def made(scores: PooledScores, names: dict[str, str]) -> Rows:
    """Label -> kc of those experiments that share a seed with the default run."""
    return {label: Subject(name, METHOD) for name, label in names.items() if scores.seeds("default", name)}


def systems(scores: PooledScores, experiment: str, metrics: Sequence[str] = METRICS) -> str:
    """The systems of an experiment and their differences to the baseline."""
    if not (seeds := scores.seeds(experiment)):
        return ""
    rows = {
        system: Subject(experiment, system)
        for system in EVERY
        if (experiment, seeds[0], system) in scores.answers
    }
    pairs = {f"{s} − {BASELINE}": (row, rows[BASELINE]) for s, row in rows.items() if s != BASELINE}
    return both(scores, rows, pairs | {"kc − ka": (rows["kc"], rows["ka"])}, metrics)


def real_text(scores: PooledScores, experiment: str) -> str:
    """The systems on real text, with those metrics of its runs that need no ground truth."""
    if not (seeds := scores.seeds(experiment)):
        return ""
    listed = ", ".join(map(str, seeds))
    # A file of each split is no other one for another seed.
    split = "" if overrides(experiment, None)["prepare.source"] == "file" else ", another split"
    each = f"seeds {listed} (each other adapters{split})" if len(seeds) > 1 else f"seed {listed}"
    opening = f"SmolLM2-135M-Instruct, {each}, {scores.questions(experiment)} test questions a seed."
    measured = {
        metric for (name, *_), rows in scores.answers.items() if name == experiment for metric in rows
    }
    metrics = [metric for metric in TEXT_METRICS if metric in measured]
    if not (other := OTHER_RECIPE.get(experiment)):
        return f"{opening}\n\n{systems(scores, experiment, metrics)}"
    rows = {system: Subject(experiment, system) for system in (BASELINE, METHOD)}
    pairs = {f"{METHOD} − {BASELINE}": (rows[METHOD], rows[BASELINE])}
    if scores.seeds(experiment, other):
        pairs[f"{METHOD} of `{other}` − {METHOD}"] = (Subject(other, METHOD), rows[METHOD])
    return f"{opening}\n\n{both(scores, rows, pairs, metrics)}"


def ablations(scores: PooledScores, folder: Path) -> str:
    """The full method minus each ablation; −KC is the difference kc − ka of the default run."""
    rows = made(scores, ABLATIONS)
    if not rows:
        return ""
    parts = {"−KC": KA, **rows}
    pairs = {f"full − ({part})": (FULL, row) for part, row in parts.items()}
    effects = scores.differences(pairs)
    labels = [part.removeprefix("−") for part in parts]
    draw(folder / "ablations.svg", effects[list(SHORT)], labels, "full minus the ablation", joined=False)
    # For `python -m stages.report --ablations`.
    cells = effects.set_axis(list(parts)).stack().rename_axis(["ablation", "metric"])
    values = {name: [round(getattr(each, name), 4) for each in cells] for name in ("value", "low", "high")}
    table = pd.DataFrame(values, index=cells.index).reset_index()
    table.insert(0, "group", OVERALL)
    table.to_csv(folder / "ablations.csv", index=False, lineterminator="\n")
    tables = both(scores, {"full (kc)": FULL, **rows}, pairs)
    alone = {f"{label} − ka": (row, KA) for label, row in made(scores, ALONE).items()}
    if alone:
        tables += f"\n\nKC of one aspect's pairs:\n\n{markdown(scores.differences(alone), signed=True)}"
    return f"{tables}\n\n![What each part is worth](study/ablations.svg)"


def disordered(scores: PooledScores) -> str:
    """The systems where training answers are out of order, and what logicality pairs are worth there."""
    full, ka = Subject(DISORDERED, METHOD), Subject(DISORDERED, "ka")
    pairs = {
        "full − (−KLC)": (full, Subject(f"{DISORDERED}-no-klc", METHOD)),
        "KLC alone − ka": (Subject(f"{DISORDERED}-only-klc", METHOD), ka),
    }
    there = {
        label: pair
        for label, pair in pairs.items()
        if scores.seeds(*(subject.experiment for subject in pair))
    }
    tables = [systems(scores, DISORDERED)]
    if there:
        tables += ["What pairs of logicality are worth:", markdown(scores.differences(there), signed=True)]
    return "\n\n".join(tables)


def choices(scores: PooledScores) -> str:
    """kc of the default run against kc of the experiments that change one choice."""
    rows = made(scores, {name: name for name in CHOICES})
    pairs = {f"default − {name}": (FULL, row) for name, row in rows.items()}
    return f"{markdown(scores.differences(pairs), signed=True)}\n\n{audit(scores)}" if rows else ""


def audit(scores: PooledScores) -> str:
    """The shortcut audit of each style of pairs, mean of the seeds."""
    keys = {
        "accuracy": "form and length",
        "style_accuracy": "form without length",
        "length_accuracy": "length alone",
    }
    rows = [
        {"style": run.params["perturb.style"], "pairs": aspect}
        | {label: told[key] for key, label in keys.items()}
        for (experiment, _), run in scores.runs.items()
        if experiment in ("default", "matched-style", "paper-style")
        for aspect, told in run.audit.items()
    ]
    table = pd.DataFrame(rows).groupby(["style", "pairs"], sort=False).mean().map("{:.1f}".format)
    return (
        "Share of held-out pairs in which a classifier that sees form alone finds the chosen answer, in % "
        f"(50: chance):\n\n{markdown(table.reset_index('pairs'))}"
    )


def swept(scores: PooledScores, key: str, name: str, folder: Path) -> str:
    """kc along one parameter: means, differences to the default, a figure."""
    default = scores.runs["default", scores.seeds("default")[0]].params[key]
    rows = made(scores, {experiment: f"{value:g}" for value, experiment in sweep(key, default).items()})
    if len(rows) < 3:
        return ""
    pairs = {f"{text} − {default:g}": (row, FULL) for text, row in rows.items() if row != FULL}
    draw(folder / f"{name}.svg", scores.means(rows, SHORT), list(rows), key, joined=True)
    seeds = scores.seeds(*(row.experiment for row in rows.values()))
    opening = f"Default {default:g}; means over seeds {', '.join(map(str, seeds))}."
    return f"{opening}\n\n{both(scores, rows, pairs)}\n\n![kc over {key}](study/{name}.svg)"


def difficulty(scores: PooledScores) -> str:
    """AUROC of perplexity for the facts that the base model cannot recall, seed by seed."""
    runs = {seed: scores.runs["default", seed].ppl for seed in scores.seeds("default")}
    rows = {
        str(seed): {
            "AUROC": f"{ppl['auroc']:.2f} [{ppl['low']:.2f}, {ppl['high']:.2f}]",
            "facts not recalled": f"{ppl['not_recalled']} of {ppl['facts']}",
        }
        for seed, ppl in runs.items()
        if ppl["status"] == "computed"
    }
    return markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("seed")) if rows else ""


def kinds(scores: PooledScores) -> str:
    """Systems and effects for every kind of question apart."""
    rows = {system: Subject("default", system) for system in SYSTEMS}
    pairs = {"kc − sft": (FULL, SFT)}
    pairs |= {f"full − ({label})": (FULL, row) for label, row in made(scores, ABLATIONS).items()}
    parts = []
    for group in GROUPS if closed_world(scores) else ():
        parts += ["### " + group.replace("_", " questions, "), markdown(scores.means(rows, SHORT, group))]
        parts.append(markdown(scores.differences(pairs, SHORT, group), signed=True))
    return "\n\n".join(parts)


def summary(scores: PooledScores) -> str:
    """The tables of the README: the systems, and what each part of the method is worth."""
    rows = {system: Subject("default", system) for system in SYSTEMS}
    means = markdown(scores.means(rows, SUMMARY).rename_axis("system"))
    gain = markdown(
        scores.differences({"kc − sft": (FULL, SFT)}, SUMMARY).set_axis(["kc − sft"]), signed=True
    )
    named = {name: f"`{name}`" for name in grid("ablations") if name in CHOICES}
    others = made(scores, ABLATIONS | named)
    pairs = {"−KC (kc − ka)": (FULL, KA)} | {label: (FULL, row) for label, row in others.items()}
    parts = scores.differences(pairs, SHORT)
    return "\n\n".join(
        [
            f"{len(scores.seeds('default'))} seeds (each another world, base model and adapters), "
            f"{scores.questions('default')} test questions each; counts are per answer, the rest in %, "
            "intervals 95 % over seeds and questions. All tables: [docs/study.md](docs/study.md).",
            f"{means}\n{gain.splitlines()[-1]}",
            "What each part is worth: the full method minus what is left when the part is left out or "
            "changed.",
            markdown(parts, signed=True),
        ]
    )


def into(readme: Path, text: str) -> None:
    """Put `text` between the marks of the README. Raises ValueError where they are missing."""
    parts = re.fullmatch(rf"(.*{MARKS[0]}\n).*(\n{MARKS[1]}.*)", readme.read_text("utf-8"), flags=re.DOTALL)
    if not parts:
        raise ValueError(f"{readme.name} lacks {MARKS[0]} or {MARKS[1]}; put them around its results")
    with atomic_write(readme) as stream:
        stream.write(parts[1] + text + parts[2])


def read_readings() -> dict[str, str]:
    """Section title -> hand-written text."""
    parts = re.split(r"^## (.+)$", READINGS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title.strip(): text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def sections(scores: PooledScores, folder: Path) -> Iterator[tuple[str, str]]:
    """Title and tables of every section, in reading order; empty where nothing was run."""
    yield "Systems", systems(scores, "default")
    yield "Ablations", ablations(scores, folder)
    yield "Answers out of order", disordered(scores)
    yield "One choice changed", choices(scores)
    for key, name in SWEEPS.items():
        yield f"Sweep: {key}", swept(scores, key, name, folder)
    for experiment, title in WORLDS.items():
        yield title, systems(scores, experiment)
    for experiment, title in REAL.items():
        yield f"Real text: {title}", real_text(scores, experiment)
    yield "What perplexity finds", difficulty(scores)
    yield "Kinds of questions", kinds(scores)


def closed_world(scores: PooledScores) -> bool:
    """Whether the questions are those of the closed world, for which the hand-written readings are too."""
    return any(rows["group"].isin(GROUPS).any() for rows in scores.answers.values())


def opening(scores: PooledScores, missing: Sequence[str]) -> str:
    """What was run, how to run it again, and what has not been made."""
    seeds = " ".join(map(str, scores.seeds("default")))
    names: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(name for name, _ in scores.runs):
        names.setdefault(scores.seeds(name), []).append(name)
    commits = ", ".join(sorted({run.baseline[:7] for run in scores.runs.values()}))
    again = [
        *(
            f"python -m experiments.run {' '.join(each)} --seeds {' '.join(map(str, its_seeds))}"
            for its_seeds, each in names.items()
        ),
        "python -m experiments.study --kept --readme    # this page, its figures and the README's tables",
    ]
    on, makes = ("the closed world", "world, another ") if closed_world(scores) else ("data of your own", "")
    about = (
        f"On {on}, seeds {seeds.replace(' ', ', ')}, {scores.questions('default')} test "
        f"questions each. A seed makes another {makes}base model and other adapters. Counts of facts "
        "are per answer, words are words, the rest is in %. Intervals: "
        f"{100 * scores.how.confidence:g} %, two-level bootstrap over seeds and questions, "
        f"{scores.how.resamples:,} resamples; with few seeds they are rather too narrow. Bold: the interval "
        f"leaves out 0. The runs started from commit {commits}. This page is written by a script; the "
        "readings under the tables are by hand (`experiments/readings.md`). The scores of every answer "
        "are in `docs/study/scores`, from which the last command makes this page without a run."
    )
    lines = ["# The study", "", about, "", "Every number again:", "", "```sh", *again, "```"]
    return "\n".join(lines + (["", f"Not run: {', '.join(missing)}."] if missing else []))


def page(scores: PooledScores, missing: Sequence[str], folder: Path) -> str:
    """The whole page; its figures go to `folder`.

    Raises ValueError on a reading whose title is no section's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    readings = read_readings() if closed_world(scores) else {}
    parts = [opening(scores, missing)]
    for title, tables in sections(scores, folder):
        reading = readings.pop(title, "")
        if tables:
            parts += [f"## {title}", tables, reading]
    if CLAIMS in readings:
        parts += [f"## {CLAIMS}", readings.pop(CLAIMS)]
    if readings:
        raise ValueError(f"{READINGS.name}: no section is called {', '.join(readings)}; mend the title")
    return "\n\n".join(part for part in parts if part) + "\n"


def not_run(runs: Collection[Key]) -> list[str]:
    """The experiments of the study without a run."""
    return [name for name in STUDIED if not any(name == experiment for experiment, _ in runs)]


def in_order(runs: Mapping[Key, Scored]) -> dict[Key, Scored]:
    """Those of the study, in its order of experiments and by seed."""
    return {key: runs[key] for name in STUDIED for key in sorted(runs) if key[0] == name}


def collect(finished: FinishedRuns, seeds: Sequence[int]) -> dict[Key, Scored]:
    """The study's runs that have been made."""
    found = {(name, seed): finished.find(name, seed) for name in STUDIED for seed in seeds}
    return {key: scored(run, _shown(key[0])) for key, run in found.items() if run}


def _shown(experiment: str) -> Collection[str] | None:
    """The systems of an experiment that the study shows; None: all."""
    if experiment in OTHER_RECIPE:
        return (BASELINE, METHOD)
    return None if experiment in WHOLE else (METHOD,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], help="seeds to look for")
    about = "take the experiments of these commits, whatever their code"
    parser.add_argument("--baseline", nargs="+", default=[], help=about)
    parser.add_argument("--kept", action="store_true", help="and the scores that are kept beside the page")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/study.md")
    parser.add_argument("--readme", action="store_true", help="write the results of README.md too")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    arguments = parser.parse_args()
    folder = arguments.out.parent / "study"
    runs = load(folder / SCORES) if arguments.kept else {}
    runs |= collect(FinishedRuns(arguments.baseline), arguments.seeds)
    runs = in_order(runs)
    if not any(name == "default" for name, _ in runs):
        raise ValueError(
            "no experiment default-s1 .. by this code and these parameters; run "
            "`python -m experiments.run --grid ablations --seeds 1 2 3` or give --baseline or --kept"
        )
    save(runs, folder / SCORES)
    missing = not_run(runs)
    scores = PooledScores(runs, Resampling(1, arguments.resamples, 0.95))
    text = page(scores, missing, folder)
    with atomic_write(arguments.out) as stream:
        stream.write(text)
    if arguments.readme:
        into(ROOT / "README.md", summary(scores))
    print(f"{arguments.out}: {len(runs)} runs; not there: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    run(main)
