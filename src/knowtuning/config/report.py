"""The parameters that the report shows: what a reader must know about a run. Other stages describe them."""

from __future__ import annotations

from typing import Literal

from knowtuning.config.judge import EvaluateStage
from knowtuning.core.params import Selection


class Source(Selection):
    """Where the data, or the base model, came from."""

    source: str


class HubModel(Selection):
    """A model of the hub."""

    id: str | None
    revision: str | None


class BaseModelShown(Source):
    """The base model."""

    hub: HubModel


class TemplateShown(Selection):
    """How a question becomes model input."""

    template: str
    max_length: int


class TeacherShown(Selection):
    """The teacher, without its address."""

    backend: str
    model: str


class LoraShown(Selection):
    """The shape of the adapters."""

    r: int
    alpha: int
    targets: list[str] | str


class RewriteShown(Selection):
    """Knowledge augmentation."""

    alpha: float


class PerturbShown(Selection):
    """The preference pairs."""

    style: str
    completeness: bool
    factuality: bool
    logicality: bool
    beta_delete: float


class TrainShown(Selection):
    """Optimisation of a training stage."""

    lr: float
    epochs: float
    batch: int


class KCShown(TrainShown):
    """Optimisation of the knowledge comparison."""

    beta: float
    gamma: float
    reference: Literal["ka", "base"]


class EvaluateAndReport(EvaluateStage):
    """What the evaluate stage reads: the evaluation's own keys, and those that only the report shows."""

    prepare: Source
    base: BaseModelShown
    model: TemplateShown
    teacher: TeacherShown
    lora: LoraShown
    train_sft: TrainShown
    rewrite: RewriteShown
    perturb: PerturbShown
    train_ka: TrainShown
    train_kc: KCShown
