"""The whole of params.yaml. `python -m knowtuning.config.schema [FILE]` checks a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import create_model

from knowtuning.config import base, baselines, evaluate, prepare, verify
from knowtuning.config.base import BaseParams
from knowtuning.config.evaluate import EvaluateParams
from knowtuning.config.knowledge import ExtractParams, RewriteParams
from knowtuning.config.perturb import PerturbParams
from knowtuning.config.predict import Baselines, FirstVersion, PredictParams
from knowtuning.config.prepare import PrepareParams
from knowtuning.config.probe import ProbeParams
from knowtuning.config.sample import SampleParams
from knowtuning.config.score import ScoreParams
from knowtuning.config.teacher import TeacherParams
from knowtuning.config.training import LoraParams, sections
from knowtuning.config.triples import KgKcParams, KgParams
from knowtuning.config.verify import JudgeParams
from knowtuning.core.params import ModelParams, Section, Seed, check_watched, load
from knowtuning.systems import ON_REQUEST


class Shared(Section):
    """All sections but those of the systems that are trained."""

    seed: Seed
    model: ModelParams
    teacher: TeacherParams
    prepare: PrepareParams
    base: BaseParams
    lora: LoraParams
    extract: ExtractParams
    score: ScoreParams
    rewrite: RewriteParams
    perturb: PerturbParams
    predict: PredictParams
    probe: ProbeParams
    judge: JudgeParams
    evaluate: EvaluateParams
    baselines: Baselines
    sample: SampleParams
    first_version: FirstVersion
    kg: KgParams
    kgkc: KgKcParams


def _of_systems() -> dict[str, Any]:
    """The sections of training, and those that make the pairs of the baselines."""
    return {**sections(), **{name: (section, ...) for name, section in baselines.SECTIONS.items()}}


# All sections; an unknown key anywhere is an error.
Params: type[Shared] = create_model("Params", __base__=Shared, **_of_systems())


def check(path: Path) -> Shared:
    """Validate a whole params file. Raises ValueError in one line."""
    params = load(path, Params)
    prepare.check_teacher(params.teacher.backend, params.prepare.source)
    needed = {str(ON_REQUEST[name].continues): name for name in params.baselines}
    for system in needed.keys() - set(params.sample.systems):
        raise ValueError(
            f"{path}: sample.systems is {params.sample.systems}; expected {system} there, whose samples "
            f"{needed[system]} of baselines is made from"
        )
    check_watched(prepare.local_paths(params.prepare))
    check_watched(base.local_paths(params.base))
    check_watched(evaluate.local_paths(params.evaluate))
    check_watched(verify.local_paths(params.judge))
    return params


if __name__ == "__main__":
    try:
        check(Path(sys.argv[1] if len(sys.argv) > 1 else "params.yaml"))
    except ValueError as error:
        sys.exit(f"error: {error}")
