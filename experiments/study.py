"""Make docs/study.md and its figures from the experiments in git: `python -m experiments.study [--readme]`.

Nothing is typed by hand but the readings, which come from experiments/readings.md. Used are the
experiments that the code and params.yaml of this checkout made (`experiments.run` makes the missing ones,
`dvc exp pull` fetches them); with --baseline REV those that started from that commit. An experiment whose
seeds are missing is left out of its section, and named.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments import figures
from experiments.catalogue import GRIDS, ROOT, aspect_ablations, grid, sweep
from experiments.finished import Finished, Shelf, git
from experiments.pooled import GROUPS, METRICS, OVERALL, Scores, Subject, cell, markdown
from knowtuning.core.storage import atomic_write
from knowtuning.evaluation.results import write_csv
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import BASELINE, METHOD, SYSTEMS

READINGS = Path(__file__).resolve().parent / "readings.md"
FULL = Subject("default", METHOD)
SFT = Subject("default", BASELINE)
SHORT = ("correct", "incorrect", "completeness", "order")
ABLATIONS = ("no-ka", *aspect_ablations())
SWEEPS = {"rewrite.alpha": "alpha", "perturb.beta_delete": "beta_delete", "train_kc.gamma": "gamma"}

# Around the tables in the README that this script writes.
MARKS = ("<!-- results: begin -->", "<!-- results: end -->")

Rows = dict[str, Subject]


class Study:
    """The sections of the page; each is Markdown without its heading, or empty where nothing was run."""

    def __init__(self, scores: Scores, figures_folder: Path) -> None:
        self.scores = scores
        self.folder = figures_folder

    def seeds(self, subjects: Sequence[Subject]) -> tuple[int, ...]:
        """The seeds every one of the subjects has."""
        return tuple(self.scores.seeds(*{subject.experiment for subject in subjects}))

    def there(self, names: Sequence[str]) -> list[str]:
        """Those of the experiments that share a seed with the default run."""
        return [name for name in names if self.scores.seeds("default", name)]

    def means(self, rows: Rows, metrics: Sequence[str] = METRICS, group: str = OVERALL) -> str:
        """Means of the rows, each over the seeds all of them have."""
        seeds = self.seeds(list(rows.values()))
        lines = [
            [label, *(cell(self.scores.mean(subject, metric, seeds, group)) for metric in metrics)]
            for label, subject in rows.items()
        ]
        return markdown(["", *metrics], lines)

    def differences(
        self, rows: dict[str, tuple[Subject, Subject]], metrics: Sequence[str] = METRICS, group: str = OVERALL
    ) -> str:
        """First minus second of every row, over the seeds both have."""
        lines = [
            [
                f"{label} ({len(self.seeds(pair))})",
                *(
                    cell(self.scores.difference(*pair, metric, self.seeds(pair), group), signed=True)
                    for metric in metrics
                ),
            ]
            for label, pair in rows.items()
        ]
        return markdown(["difference (seeds)", *metrics], lines)

    def systems(self, experiment: str = "default") -> str:
        """The systems of an experiment and their differences to the baseline."""
        if not self.scores.seeds(experiment):
            return ""
        rows: Rows = {system: Subject(experiment, system) for system in SYSTEMS}
        against = {f"{s} − {BASELINE}": (rows[s], rows[BASELINE]) for s in SYSTEMS if s != BASELINE}
        against["kc − ka"] = (rows["kc"], rows["ka"])
        return f"{self.means(rows)}\n\n{self.differences(against)}"

    def ablations(self) -> str:
        """The full method minus each ablation; −KC is the difference kc − ka of the default run."""
        names = self.there(ABLATIONS)
        if not names:
            return ""
        pairs = {"full − (−KC)": (FULL, Subject("default", "ka"))}
        pairs |= {f"full − ({label(name)})": (FULL, Subject(name, METHOD)) for name in names}
        rows = {"full (kc)": FULL} | {label(name): Subject(name, METHOD) for name in names}
        self.effects_figure(pairs)
        self.effects_table(pairs)
        figure = "![What each part is worth](study/ablations.svg)"
        return f"{self.means(rows)}\n\n{self.differences(pairs)}\n\n{figure}"

    def effects_table(self, pairs: dict[str, tuple[Subject, Subject]]) -> None:
        """docs/study/ablations.csv: the same for `python -m stages.report --ablations`."""
        rows = []
        for name, pair in pairs.items():
            for metric in METRICS:
                found = self.scores.difference(*pair, metric, self.seeds(pair))
                bounds = {"value": found.value, "low": found.low, "high": found.high}
                part = name.removeprefix("full − (").removesuffix(")")
                rounded = {key: round(value, 4) for key, value in bounds.items()}
                rows.append({"group": OVERALL, "ablation": part, "metric": metric, **rounded})
        write_csv(self.folder / "ablations.csv", rows)

    def effects_figure(self, pairs: dict[str, tuple[Subject, Subject]]) -> None:
        """docs/study/ablations.svg: the effect of every part on four metrics."""
        panels = []
        for metric in SHORT:
            points = []
            for name, pair in pairs.items():
                found = self.scores.difference(*pair, metric, self.seeds(pair))
                short = name.removeprefix("full − (−").removesuffix(")")
                points.append(figures.Point(short, found.value, found.low, found.high))
            panels.append(figures.Panel(metric, points, zero=True))
        self.save("ablations", panels, "full minus the ablation", joined=False)

    def save(self, name: str, panels: list[figures.Panel], label: str, *, joined: bool) -> None:
        with atomic_write(self.folder / f"{name}.svg") as stream:
            stream.write(figures.draw(panels, label=label, joined=joined))

    def pair(self, other: str, what: str) -> str:
        """kc of the default run against kc of another experiment."""
        if not self.there([other]):
            return ""
        changed = Subject(other, METHOD)
        means = self.means({"default": FULL, what: changed})
        return f"{means}\n\n{self.differences({f'default − {what}': (FULL, changed)})}"

    def style(self) -> str:
        """The default style against the others, and how often form alone gives the chosen answer away."""
        pairs = [self.pair(f"{style}-style", style) for style in ("matched", "paper")]
        return "\n\n".join([*filter(None, pairs), self.audit()]) if any(pairs) else ""

    def audit(self) -> str:
        """The shortcut audit of the styles that were run, mean of the seeds."""
        lines = []
        styles = {"original": "default", "matched": "matched-style", "paper": "paper-style"}
        for style, name in styles.items():
            runs = [
                run.json("metrics/audit.json")
                for (found, _), run in self.scores.runs.items()
                if found == name
            ]
            for aspect in ASPECTS if runs else ():
                keys = ("accuracy", "style_accuracy", "length_accuracy")
                cells = [f"{np.mean([run[aspect][key] for run in runs]):.1f}" for key in keys]
                lines.append([style, aspect, *cells])
        head = ["style", "pairs", "form and length", "form without length", "length alone"]
        return (
            "Share of held-out pairs in which a classifier that sees form alone finds the chosen answer, "
            f"in % (50: chance):\n\n{markdown(head, lines)}"
        )

    def sweep(self, key: str, name: str) -> str:
        """kc along one parameter: means, differences to the default, a figure."""
        section, _, leaf = key.partition(".")
        default = self.scores.runs["default", self.scores.seeds("default")[0]].params[section][leaf]
        points = {v: n for v, n in sweep(key, default).items() if self.scores.seeds("default", n)}
        if len(points) < 2:
            return ""
        rows = {f"{value:g}": Subject(experiment, METHOD) for value, experiment in points.items()}
        pairs = {
            f"{text} − {default:g}": (row, FULL) for text, row in rows.items() if row.experiment != "default"
        }
        seeds = self.seeds(list(rows.values()))
        panels = []
        for metric in SHORT:
            found = {text: self.scores.mean(row, metric, seeds) for text, row in rows.items()}
            panels.append(
                figures.Panel(metric, [figures.Point(t, e.value, e.low, e.high) for t, e in found.items()])
            )
        self.save(name, panels, key, joined=True)
        figure = f"![kc over {key}](study/{name}.svg)"
        used = f"Default {default:g}; means over seeds {listed(seeds)}."
        return f"{used}\n\n{self.means(rows)}\n\n{self.differences(pairs)}\n\n{figure}"

    def difficulty(self) -> str:
        """AUROC of perplexity for the facts that the base model cannot recall, seed by seed."""
        runs = [
            (s, run.json("metrics/ppl.json")) for (n, s), run in self.scores.runs.items() if n == "default"
        ]
        lines = [
            [
                str(seed),
                f"{found['auroc']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
                f"{found['not_recalled']} of {found['facts']}",
            ]
            for seed, found in runs
            if found["status"] == "computed"
        ]
        return markdown(["seed", "AUROC", "facts not recalled"], lines) if lines else ""

    def kinds(self) -> str:
        """Systems and effects for every kind of question apart."""
        parts = []
        systems: Rows = {system: Subject("default", system) for system in SYSTEMS}
        pairs = {"kc − sft": (FULL, SFT)}
        pairs |= {f"full − ({label(n)})": (FULL, Subject(n, "kc")) for n in self.there(ABLATIONS)}
        for group in GROUPS:
            title = "### " + group.replace("_", " questions, ")
            parts += [title, self.means(systems, SHORT, group), self.differences(pairs, SHORT, group)]
        return "\n\n".join(parts)


def summary(study: Study) -> str:
    """The tables of the README: the systems, and what each part of the method is worth."""
    seeds = study.seeds([FULL])
    metrics = [metric for metric in METRICS if metric != "words"]
    lines = [
        [system, *(cell(study.scores.mean(Subject("default", system), metric, seeds)) for metric in metrics)]
        for system in SYSTEMS
    ]
    gains = [cell(study.scores.difference(FULL, SFT, metric, seeds), signed=True) for metric in metrics]
    systems = markdown(["system", *metrics], [*lines, ["kc − sft", *gains]])
    pairs = {"−KC (kc − ka)": (FULL, Subject("default", "ka"))}
    pairs |= {label(name): (FULL, Subject(name, METHOD)) for name in study.there(ABLATIONS)}
    others = {f"{style}-style": f"style `{style}`" for style in ("matched", "paper")}
    others["base-reference"] = "reference `base`"
    pairs |= {others[name]: (FULL, Subject(name, METHOD)) for name in study.there(list(others))}
    about = (
        f"{len(seeds)} seeds (each another world, base model and adapters), "
        f"{study.scores.questions('default')} test questions each; counts are per answer, the rest in %, "
        "intervals 95 % over seeds and questions. All tables: [docs/study.md](docs/study.md)."
    )
    parts = (
        "What each part is worth: the full method minus what is left when the part is left out or changed."
    )
    return "\n\n".join([about, systems, parts, study.differences(pairs, SHORT)])


def into(readme: Path, text: str) -> None:
    """Put `text` between the marks of the README. Raises ValueError where they are missing."""
    found = re.fullmatch(rf"(.*{MARKS[0]}\n).*(\n{MARKS[1]}.*)", readme.read_text("utf-8"), flags=re.DOTALL)
    if not found:
        raise ValueError(f"{readme.name} lacks {MARKS[0]} or {MARKS[1]}; put them around its results")
    with atomic_write(readme) as stream:
        stream.write(found[1] + text + found[2])


def label(name: str) -> str:
    """−KA for no-ka, and so on."""
    return "−" + name.removeprefix("no-").upper()


def listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def read_readings() -> dict[str, str]:
    """Section title -> hand-written text. Raises ValueError on a title that is no section's."""
    parts = re.split(r"^## (.+)$", READINGS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title.strip(): text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def sections(study: Study) -> Iterator[tuple[str, str]]:
    """Title and tables of every section, in reading order."""
    yield "Systems", study.systems()
    yield "Ablations", study.ablations()
    yield "Style of the pairs", study.style()
    yield "Reference of the DPO", study.pair("base-reference", "base")
    for key, name in SWEEPS.items():
        yield f"Sweep: {key}", study.sweep(key, name)
    yield "A larger world", study.systems("world-large")
    yield "What perplexity finds", study.difficulty()
    yield "Kinds of questions", study.kinds()


def opening(scores: Scores, missing: Sequence[str], how: Resampling, baseline: str | None) -> str:
    """What was run, how to run it again, and what is not there."""
    seeds, questions = scores.seeds("default"), scores.questions("default")
    commits = sorted({run.baseline[:7] for run in scores.runs.values()})
    command = "python -m experiments.study" + (f" --baseline {baseline}" if baseline else "")
    swept = scores.seeds("default", *[n for n in grid("sweeps") if scores.seeds(n)])
    again = [
        f"python -m experiments.run --grid ablations --seeds {' '.join(map(str, seeds))}",
        f"python -m experiments.run --grid sweeps --seeds {' '.join(map(str, swept))}",
        f"{command} --readme    # this page, its figures and the README's tables",
    ]
    lines = [
        "# The study",
        "",
        f"On the closed world, seeds {listed(seeds)}, {questions} test questions each. A seed makes another "
        "world, another base model and other adapters. Counts of facts are per answer; completeness, order, "
        f"METEOR and ROUGE-L in %. Intervals: {100 * how.confidence:g} %, two-level bootstrap over seeds and "
        f"questions, {how.resamples:,} resamples; with few seeds they are rather too narrow. Bold: the "
        f"interval leaves out 0. The runs started from commit {', '.join(commits)}. This page is written by "
        "a script; the readings under the tables are by hand (`experiments/readings.md`).",
        "",
        "Every number again:",
        "",
        "```sh",
        *again,
        "```",
    ]
    if missing:
        lines += ["", f"Not run: {', '.join(missing)}."]
    return "\n".join(lines)


def page(scores: Scores, missing: Sequence[str], folder: Path, baseline: str | None) -> str:
    """The whole page; its figures go to `folder`."""
    readings, parts = read_readings(), [opening(scores, missing, scores.how, baseline)]
    for title, tables in sections(Study(scores, folder)):
        reading = readings.pop(title, "")
        if tables:
            parts += [f"## {title}", tables, reading]
    claims = readings.pop("What the paper claims, and what was found", "")
    if claims:
        parts += ["## What the paper claims, and what was found", claims]
    if readings:
        raise ValueError(f"{READINGS.name}: no section is called {', '.join(readings)}; mend the title")
    return "\n\n".join(part for part in parts if part) + "\n"


def collect(shelf: Shelf, seeds: Sequence[int]) -> tuple[dict[tuple[str, int], Finished], list[str]]:
    """The study's runs that are there, and the names of those that are not."""
    names = dict.fromkeys(name for part in GRIDS for name in grid(part))
    wanted = {(name, seed): shelf.find(name, seed) for name in names for seed in seeds}
    there = {key: run for key, run in wanted.items() if run}
    return there, [name for name in names if not any(found == name for found, _ in there)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], help="seeds to look for")
    parser.add_argument("--baseline", help="take the experiments of this commit, whatever their code")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/study.md")
    parser.add_argument("--readme", action="store_true", help="write the results of README.md too")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    arguments = parser.parse_args()
    baseline = git("rev-parse", "--short", arguments.baseline).strip() if arguments.baseline else None
    there, missing = collect(Shelf(baseline), arguments.seeds)
    if not any(name == "default" for name, _ in there):
        sys.stderr.write(
            "error: no experiment default-s1 .. by this code and these parameters; run "
            "`python -m experiments.run --grid ablations --seeds 1 2 3` or give --baseline\n"
        )
        return 1
    scores = Scores(there, Resampling(1, arguments.resamples, 0.95))
    text = page(scores, missing, arguments.out.parent / "study", baseline)
    with atomic_write(arguments.out) as stream:
        stream.write(text)
    if arguments.readme:
        into(ROOT / "README.md", summary(Study(scores, arguments.out.parent / "study")))
    print(f"{arguments.out}: {len(there)} runs; not there: {', '.join(missing) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
