"""Compare the systems' answers: `python -m stages.evaluate`.

Reads questions, predictions, the ground truth where there is one, scored facts and preference pairs;
writes metrics, plot data and the scores of every answer; prints the table of systems.
"""

from __future__ import annotations

import sys
from pathlib import Path

from knowtuning.config import load
from knowtuning.config.report import EvaluateAndReport
from knowtuning.evaluation import answers, audit, lexical, perplexity, report, results, summary, table
from knowtuning.evaluation.stats import Resampling
from knowtuning.records import Example, Preference, Scored, read_jsonl, write_jsonl
from knowtuning.storage import atomic_write, write_json
from knowtuning.world.verifier import Truth
from stages import CACHE, PARAMS, run

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")
REPORT = Path("report/index.html")


def main() -> None:
    """Run the stage."""
    params = load(PARAMS, EvaluateAndReport)
    settings, predict = params.evaluate, params.predict
    how = Resampling(params.seed, settings.resamples, settings.confidence)

    examples = read_jsonl(DATA / f"prepared/{predict.split}.jsonl", Example)[: predict.limit]
    predictions = answers.read_predictions(DATA / "predictions", examples)
    known = DATA / "prepared/truth.json"
    truth = Truth.load(known) if known.exists() else None
    meteor = lexical.meteor_name(CACHE / "nltk_data")
    if meteor != "meteor":
        sys.stderr.write(f"WordNet is not installed: METEOR is without synonyms, named {meteor}\n")

    rows = []
    for system, given in predictions.items():
        texts = [prediction.answer for prediction in given]
        references = [example.answer for example in examples]
        scores = lexical.score(texts, references, meteor=meteor, cache=CACHE / "evaluate")
        rows += answers.score_answers(examples, given, system=system, lexical=scores, truth=truth)
    write_jsonl(DATA / "evaluation/answers.jsonl", rows)

    summaries = summary.summarise_groups(rows, how)
    results.write_summaries(summaries, metrics=METRICS, plots=PLOTS)
    scored = read_jsonl(DATA / "knowledge/scored.jsonl", Scored)
    write_json(METRICS / "ppl.json", perplexity.auroc_metrics(scored, how))
    results.write_csv(PLOTS / "ppl.csv", perplexity.histogram(scored))
    calibrated = perplexity.calibration(scored, confidence=settings.confidence)
    results.write_table(PLOTS / "calibration.csv", perplexity.CALIBRATION, calibrated)
    pairs = read_jsonl(DATA / "knowledge/kc.jsonl", Preference)
    write_json(METRICS / "audit.json", audit.audit(pairs, folds=settings.audit_folds, how=how))
    with atomic_write(METRICS / "table.txt") as stream:
        stream.write(table.render(summaries[0], baseline="sft", confidence=settings.confidence) + "\n")
    # Reads the files of this stage and of those before it.
    shown = params.model_dump()
    report.build(REPORT, data=DATA, metrics=METRICS, plots=PLOTS, split=predict.split, params=shown)
    print((METRICS / "table.txt").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    run(main)
