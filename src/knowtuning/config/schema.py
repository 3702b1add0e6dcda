"""The whole of params.yaml. `python -m knowtuning.config.schema [FILE]` checks a file."""

from __future__ import annotations

import sys
from pathlib import Path

from knowtuning.config.evaluation import EvaluateParams, PredictParams
from knowtuning.config.judge import JudgeParams
from knowtuning.config.knowledge import ExtractParams, PerturbParams, RewriteParams, ScoreParams
from knowtuning.config.prepare import PrepareParams
from knowtuning.config.teacher import TeacherParams
from knowtuning.config.training import BaseParams, KCParams, LoraParams, Schedule
from knowtuning.core.params import ModelParams, Section, Seed, load


class Params(Section):
    """All sections; an unknown key anywhere is an error."""

    seed: Seed
    model: ModelParams
    teacher: TeacherParams
    prepare: PrepareParams
    base: BaseParams
    lora: LoraParams
    train_sft: Schedule
    extract: ExtractParams
    score: ScoreParams
    rewrite: RewriteParams
    perturb: PerturbParams
    train_ka: Schedule
    train_kc: KCParams
    predict: PredictParams
    evaluate: EvaluateParams
    judge: JudgeParams


def check(path: Path) -> Params:
    """Validate a whole params file. Raises ValueError in one line."""
    return load(path, Params)


if __name__ == "__main__":
    try:
        check(Path(sys.argv[1] if len(sys.argv) > 1 else "params.yaml"))
    except ValueError as error:
        sys.exit(f"error: {error}")
