"""evaluate: the numbers, from files, without a teacher. `python -m stages.evaluate`

Reads questions, predictions, the verdicts on them, the probe, and scored facts; writes the scores of
every answer, metrics, plot data and tables, and prints the tables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from knowtuning.config.evaluate import EvaluateParams, EvaluateStage, local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.core.records import (
    Example,
    Prediction,
    Probed,
    ScoredFacts,
    Scores,
    Verified,
    read_jsonl,
    read_predictions,
    write_jsonl,
)
from knowtuning.core.storage import atomic_write, read_json, write_json
from knowtuning.core.tables import grouped
from knowtuning.evaluation import outputs, pairwise, perplexity, summary, wordnet
from knowtuning.evaluation.encoders import find_encoder, find_sentence_encoder
from knowtuning.evaluation.fact_metrics import fact_metrics
from knowtuning.evaluation.metrics import MetricInputs, score_answers
from knowtuning.evaluation.stats import Resampling, length, unit_of
from knowtuning.evaluation.verdict import verdict
from knowtuning.model.hardware import detect
from knowtuning.systems import BASELINE, METHOD
from stages import CACHE, PARAMS, run

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")


def main() -> None:
    params = load(PARAMS, EvaluateStage)
    check_watched(local_paths(params.evaluate))
    settings, predict = params.evaluate, params.predict
    examples = read_jsonl(DATA / f"prepared/{predict.split}.jsonl", Example)[: predict.limit]
    units = list(map(unit_of, examples))
    how = Resampling(params.seed, settings.resamples, settings.confidence, units)
    predictions = read_predictions(DATA / "predictions", params.systems, examples)
    rows = _score(examples, predictions, settings)
    write_jsonl(DATA / "evaluation/answers.jsonl", rows)
    questions = [example.id for example in examples]
    judged = pairwise.read_judgements(DATA / "verification/judgements.jsonl", questions)
    status = read_json(METRICS / "verify.json")["status"]

    summaries = summary.summarise_groups(rows, how)
    outputs.write_summaries(summaries, metrics=METRICS, plots=PLOTS)
    words = {system: [length(one.answer) for one in answers] for system, answers in predictions.items()}
    contests = pairwise.contests(judged, words, how)
    computed = status == "computed"
    facts = fact_metrics(rows, how) if computed else {}
    write_json(METRICS / "facts.json", {"status": status, **facts})
    write_json(METRICS / "judge.json", pairwise.judge_metrics(contests) if computed else {"status": status})
    scored = read_jsonl(DATA / "knowledge/scored_facts.jsonl", ScoredFacts)
    trained = {row.id: unit_of(row) for row in read_jsonl(DATA / "prepared/train.jsonl", Example)}
    write_json(METRICS / "ppl.json", perplexity.auroc_metrics(scored, how, trained))
    outputs.write_csv(PLOTS / "ppl.csv", perplexity.histogram(scored))
    calibrated = perplexity.calibration(scored, confidence=settings.confidence)
    outputs.write_csv(PLOTS / "calibration.csv", calibrated, perplexity.CALIBRATION)
    tables = [outputs.render(summaries[0], baseline=BASELINE, confidence=settings.confidence)]
    if settings.bertscore.encoder is None:
        tables.append("BERTScore is not computed: evaluate.bertscore.encoder is null")
    if contests:
        tables.append(outputs.render_contests(contests, confidence=settings.confidence))
    nets = {c.aspect: c.estimates[pairwise.CONTROLLED] for c in contests if (c.a, c.b) == (METHOD, BASELINE)}
    outcome = verdict(summaries[0].differences[METHOD], nets)
    write_json(METRICS / "verdict.json", outcome.metrics())
    tables.append("\n".join([outcome.line, *(f"warning: {line}" for line in outcome.warnings)]))
    with atomic_write(METRICS / "table.txt") as stream:
        stream.write("\n\n".join(tables) + "\n")
    text = (METRICS / "table.txt").read_text(encoding="utf-8")
    plain = (sys.stdout.encoding or "").lower().startswith("utf")
    print(text if plain else text.replace("±", "+/-"), end="")


def _score(
    examples: Sequence[Example], predictions: Mapping[str, Sequence[Prediction]], settings: EvaluateParams
) -> list[Scores]:
    """Verdicts and text metrics of every system's answers."""
    cache, synonyms = CACHE / "evaluate", settings.meteor_synonyms
    if synonyms:
        wordnet.require(CACHE / "nltk_data")
    encoder = find_encoder(settings.bertscore)
    sentences = find_sentence_encoder(settings.sentence_encoder)
    device = detect(os.environ).device if encoder or sentences else "cpu"
    verified = grouped(read_jsonl(DATA / "verification/verdicts.jsonl", Verified), lambda row: row.system)
    probed = grouped(read_jsonl(DATA / "probe/scores.jsonl", Probed), lambda row: row.system)
    rows: list[Scores] = []
    for system, of_system in predictions.items():
        answers = MetricInputs(examples, of_system, cache, synonyms, encoder, sentences, device)
        rows += score_answers(answers, system, verified[system], probed.get(system, []))
    return rows


if __name__ == "__main__":
    run(main)
