"""Compare the systems' answers: `python -m stages.evaluate`.

Reads questions, predictions, the ground truth where there is one, scored facts and preference pairs, and
for the report what the stages before it counted and logged; writes metrics, plot data, the scores of every
answer, the judgements of pairs and the report; prints the tables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from knowtuning.config.judge import JudgeParams
from knowtuning.config.report import EvaluateAndReport
from knowtuning.core.params import load
from knowtuning.core.records import Example, Prediction, Preference, Scored, System, read_jsonl, write_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.evaluation import (
    answers,
    audit,
    bertscore,
    jury,
    lexical,
    pairwise,
    perplexity,
    report,
    results,
    summary,
    table,
)
from knowtuning.evaluation.stats import Resampling
from knowtuning.model.hardware import detect
from knowtuning.teacher.factory import build_teacher, load_responses, save_responses, usage_metrics
from knowtuning.teacher.openai.limits import limits_from_environment
from knowtuning.teacher.tasks import Teacher
from knowtuning.world.verifier import Truth
from stages import CACHE, PARAMS, run

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")
# The replies behind the judgements travel with them, so that a clone can repeat the stage without a key.
RESPONSES = DATA / "evaluation/responses.jsonl"
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
    teacher = _teacher(params.judge) if params.judge.backend == "openai" else None
    judges = jury.appoint(params.judge.backend, truth, teacher)
    if judges.status != "computed":
        sys.stderr.write(f"Facts and pairs are {judges.status}\n")
    encoder = bertscore.resolve(settings.bertscore)

    rows = _score(examples, predictions, judges, encoder)
    write_jsonl(DATA / "evaluation/answers.jsonl", rows)
    judged = judges.compare(examples, predictions, params.judge.matchups)
    write_jsonl(DATA / "evaluation/judgements.jsonl", judged)
    save_responses(teacher, RESPONSES)

    summaries = summary.summarise_groups(rows, how)
    results.write_summaries(summaries, metrics=METRICS, plots=PLOTS)
    words = {system: [len(one.answer.split()) for one in given] for system, given in predictions.items()}
    contests = pairwise.contests(judged, words, how)
    usage = usage_metrics(teacher)
    results.write_judging(rows, contests, how, metrics=METRICS, status=judges.status, usage=usage)
    scored = read_jsonl(DATA / "knowledge/scored.jsonl", Scored)
    write_json(METRICS / "ppl.json", perplexity.auroc_metrics(scored, how))
    results.write_csv(PLOTS / "ppl.csv", perplexity.histogram(scored))
    calibrated = perplexity.calibration(scored, confidence=settings.confidence)
    results.write_table(PLOTS / "calibration.csv", perplexity.CALIBRATION, calibrated)
    pairs = read_jsonl(DATA / "knowledge/kc.jsonl", Preference)
    write_json(METRICS / "audit.json", audit.audit(pairs, folds=settings.audit_folds, how=how))
    tables = [table.render(summaries[0], baseline="sft", confidence=settings.confidence)]
    if encoder is None:
        tables.append("BERTScore is not computed: evaluate.bertscore.encoder is null")
    if contests:
        tables.append(table.render_contests(contests, confidence=settings.confidence))
    with atomic_write(METRICS / "table.txt") as stream:
        stream.write("\n\n".join(tables) + "\n")
    # Reads the files of this stage and of those before it.
    shown = params.model_dump()
    report.build(REPORT, data=DATA, metrics=METRICS, plots=PLOTS, split=predict.split, params=shown)
    print((METRICS / "table.txt").read_text(encoding="utf-8"), end="")
    # Last: all that is finished is on disk.
    jury.check_unjudged(rows, judged, params.judge.max_unjudged, folder=DATA / "evaluation")


def _score(
    examples: Sequence[Example],
    predictions: Mapping[System, Sequence[Prediction]],
    judges: jury.Jury,
    encoder: bertscore.Encoder | None,
) -> list[answers.Scores]:
    """Facts and text metrics of every system's answers."""
    cache = CACHE / "evaluate"
    meteor = lexical.meteor_name(CACHE / "nltk_data")
    if meteor != "meteor":
        sys.stderr.write(f"WordNet is not installed: METEOR is without synonyms, named {meteor}\n")
    checked = judges.check(examples, predictions)
    references = [example.answer for example in examples]
    rows: list[answers.Scores] = []
    for system, given in predictions.items():
        texts = [prediction.answer for prediction in given]
        scores = lexical.score(texts, references, meteor=meteor, cache=cache)
        if encoder is not None:
            device = detect(os.environ).device
            scores |= bertscore.score(texts, references, encoder, device=device, cache=cache)
        rows += answers.score_answers(
            examples,
            given,
            system=system,
            lexical=scores,
            truth=judges.truth,
            checked=checked.get(system),
        )
    return rows


def _teacher(params: JudgeParams) -> Teacher:
    """The LLM that verifies and judges, with the replies that an earlier run has paid for."""
    teacher = build_teacher(
        params.teacher,
        seed=0,
        corpus=(),
        prompts=Path("prompts"),
        cache=CACHE,
        api_key=os.environ.get("OPENAI_API_KEY"),
        hardware=limits_from_environment(os.environ),
        section="judge",
    )
    load_responses(teacher, RESPONSES, root=Path.cwd())
    return teacher


if __name__ == "__main__":
    run(main)
