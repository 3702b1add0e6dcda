"""verify: whether the facts of answers hold, and which answer is better. `python -m stages.verify`

By the closed world's ground truth, or by a teacher: the paid part of the evaluation. Writes the verdicts on
every answer, the judgements of pairs, and the replies behind both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from knowtuning.config.verify import VerifyStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, read_jsonl, read_predictions, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.verification import jury
from stages import CACHE, PARAMS, run

PREPARED, PREDICTIONS, OUT = Path("data/prepared"), Path("data/predictions"), Path("data/verification")
REPLIES = OUT / "replies.jsonl"


def main() -> None:
    params = load(PARAMS, VerifyStage)
    judge, predict, matchups = params.judge, params.predict, params.matchups
    examples = read_jsonl(PREPARED / f"{predict.split}.jsonl", Example)[: predict.limit]
    predictions = read_predictions(PREDICTIONS, params.systems, examples)
    judges, paid = jury.open_jury(judge, os.environ, CACHE, PREPARED, REPLIES)
    if judges.status != "computed":
        sys.stderr.write(f"Facts and pairs are {judges.status}\n")
    verdicts = judges.verify(examples, predictions)
    write_jsonl(OUT / "verdicts.jsonl", verdicts)
    judgements = judges.compare(examples, predictions, matchups)
    write_jsonl(OUT / "judgements.jsonl", judgements)
    line = jury.position_warning(judgements)
    if line:
        sys.stderr.write(f"warning: verify: {line}\n")
    paid.save_replies(REPLIES)
    counts = jury.count(verdicts, judgements)
    write_json(Path("metrics/verify.json"), {"status": judges.status, **counts, **paid.usage()})
    # Last: all that is finished is on disk.
    jury.check_unjudged(verdicts, judgements, judge.max_unjudged, folder=OUT)
    print(f"verify: {counts['answers']} answers and {counts['comparisons']} comparisons, {judges.status}")


if __name__ == "__main__":
    run(main)
