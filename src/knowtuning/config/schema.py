"""The whole of params.yaml. `python -m knowtuning.config.schema [FILE]` checks a file."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import create_model

from knowtuning.config import base, baselines, evaluate, prepare, verify
from knowtuning.config.base import BaseParams
from knowtuning.config.evaluate import EvaluateParams
from knowtuning.config.knowledge import ExtractParams, RewriteParams
from knowtuning.config.perturb import PerturbParams
from knowtuning.config.predict import Baselines, FirstVersion, PredictParams, SampleParams
from knowtuning.config.prepare import PrepareParams
from knowtuning.config.probe import ProbeParams
from knowtuning.config.score import ScoreParams
from knowtuning.config.teacher import TeacherParams
from knowtuning.config.training import LoraParams, sections
from knowtuning.config.triples import KgKcParams, KgParams
from knowtuning.config.verify import JudgeParams, VerifyStage
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


# The sections of training, and those that make the pairs of the baselines.
_OF_SYSTEMS: Any = {**sections(), **{name: (section, ...) for name, section in baselines.SECTIONS.items()}}
# All sections; an unknown key anywhere is an error.
Params: type[Shared] = create_model("Params", __base__=Shared, **_OF_SYSTEMS)


# A key that names something, and the value of the other key by which it is read.
_READ_BY = {
    "prepare.file.train": ("prepare.source", "file"),
    "prepare.medquad_xml.path": ("prepare.source", "medquad_xml"),
    "prepare.hub.id": ("prepare.source", "hub"),
    "base.hub.id": ("base.source", "hub"),
    "base.gguf.source": ("base.source", "gguf"),
    "teacher.base_url": ("teacher.backend", "openai"),
    "judge.base_url": ("judge.backend", "openai"),
}


def unread(params: Shared) -> list[str]:
    """A line on each key that names something and is not read, since another key says so."""

    def value(key: str) -> Any:
        return functools.reduce(getattr, key.split("."), params)

    return [
        f"{key} is {value(key)!r} and is not read: {by} is {value(by)!r}, not {wanted!r}"
        for key, (by, wanted) in _READ_BY.items()
        if value(key) is not None and value(by) != wanted
    ]


def check(path: Path) -> Shared:
    """Validate a whole params file, and what a late stage would find out. Raises ValueError in one line."""
    params = load(path, Params)
    if params.seed >= 2**32:
        raise ValueError(f"{path}: seed is {params.seed}; expected less than {2**32}, as NumPy takes")
    try:
        json.dumps(params.model.template_args, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: model.template_args cannot be written as JSON ({error}); expected texts, numbers, "
            "booleans, lists and mappings; a date needs quotes"
        ) from error
    further, _, name = params.predict.split.partition("/")
    if name and name not in params.prepare.tests:
        raise ValueError(
            f"{path}: predict.split is {further}/{name}; expected a name of prepare.tests behind {further}/, "
            f"which has {', '.join(params.prepare.tests) or 'none'}"
        )
    _ = VerifyStage.model_validate(params.model_dump()).matchups
    verify.check_knowledge(params.judge)
    prepare.check_teacher(params.teacher.backend, params.prepare.source)
    needed = {str(ON_REQUEST[name].continues): name for name in params.baselines}
    for system in needed.keys() - set(params.sample.systems):
        raise ValueError(
            f"{path}: sample.systems is {params.sample.systems}; expected {system} there, whose samples "
            f"{needed[system]} of baselines is made from"
        )
    check_watched(prepare.local_paths(params.prepare))
    check_watched(base.local_paths(params.base))
    late = {**evaluate.local_paths(params.evaluate), **verify.local_paths(params.judge)}
    check_watched(late)
    for key, value in late.items():
        if value is not None and not Path(value).exists():
            raise ValueError(f"{path}: {key} is {value!r}; expected a file or folder that is there")
    return params


if __name__ == "__main__":
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "params.yaml")
    try:
        for line in unread(check(file)):
            sys.stderr.write(f"note: {file}: {line}\n")
    except ValueError as error:
        sys.exit(f"error: {error}")
