"""The named experiments of the .yaml files beside this module, and the parameters each of them means."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from knowtuning.core.params import read_yaml
from knowtuning.core.tables import entry
from knowtuning.knowledge.aspects import ASPECTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Lists that run as a whole: `--grid ablations` is `default` and every name in ablations.yaml.
LISTS = sorted(path.stem for path in HERE.glob("*.yaml"))
# Those whose runs make docs/study.md.
GRIDS = ("ablations", "disorder", "knowledge", "losses", "sweeps", "baselines")

Params = dict[str, Any]


def _ablations(params: Params | None) -> dict[str, tuple[str, str]]:
    """The ablation (name, about) of each aspect that params.yaml (or `params`) switches on."""
    on = (params or read_yaml(ROOT / "params.yaml"))["perturb"]["aspects"]
    return {aspect: entry(ASPECTS, aspect, "params.yaml: perturb.aspects").ablation for aspect in on}


def aspect_ablations(params: Params | None = None) -> dict[str, dict[str, Any]]:
    """For each aspect that params.yaml (or `params`) switches on the experiment without its pairs."""
    named = _ablations(params)
    return {
        name: {"about": about, "set": {"perturb.aspects": [other for other in named if other != aspect]}}
        for aspect, (name, about) in named.items()
    }


def aspects_alone(params: Params | None = None) -> dict[str, dict[str, Any]]:
    """For each aspect that is on the experiment whose KC has its pairs alone: `only-kcc` beside `no-kcc`."""
    return {
        f"only-{name.removeprefix('no-')}": {
            "about": f"Of KC the pairs of {aspect} alone",
            "set": {"perturb.aspects": [aspect]},
        }
        for aspect, (name, _) in _ablations(params).items()
    }


def experiments(params: Params | None = None) -> dict[str, dict[str, Any]]:
    """All named experiments, of params.yaml or of `params`: name -> about, set.

    Raises ValueError on an entry of another form, or a name twice.
    """
    named: dict[str, dict[str, Any]] = {"default": {"about": "params.yaml as it stands", "set": {}}}
    named |= aspect_ablations(params) | aspects_alone(params)
    for path in sorted(HERE.glob("*.yaml")):
        for name, content in read_yaml(path).items():
            if name in named:
                raise ValueError(f"{path}: the experiment {name} is defined twice; rename one")
            if not (
                isinstance(content, dict) and isinstance(content.get("set"), dict) and "about" in content
            ):
                raise ValueError(
                    f"{path}: {name} is {content!r}; expected `about: a line`, `set: {{params key: value}}`"
                )
            named[name] = content
    return named


def grid(name: str) -> list[str]:
    """The experiments of a list, `default` first, for every comparison needs it."""
    aspects = [*aspect_ablations(), *aspects_alone()] if name == "ablations" else []
    return ["default", *aspects, *read_yaml(HERE / f"{name}.yaml")]


def run_name(name: str, seed: int | None) -> str:
    """What DVC calls the run of an experiment: `no-ka-s2`; without a seed the bare name."""
    return name if seed is None else f"{name}-s{seed}"


def overrides(name: str, seed: int | None) -> Params:
    """Dotted key -> value, the seed included."""
    changes: Params = dict(experiments()[name]["set"])
    return changes if seed is None else {**changes, "seed": seed}


def applied(params: Params, changes: Params) -> Params:
    """`params` with the dotted keys of `changes` set. Raises ValueError on a key it does not have."""
    result = copy.deepcopy(params)
    for key, value in changes.items():
        *parents, last = key.split(".")
        section: Any = result
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise ValueError(f"params.yaml has no key {key}, which an experiment sets; check its spelling")
        # As `dvc exp run` does, which adds to a mapping.
        section[last] = {**section[last], **value} if isinstance(value, dict) else value
    return result


def words_of(changes: Params) -> list[str]:
    """The `--set-param` words of a `dvc exp run` command; an entry of a mapping may be a new one (`++`)."""
    single: Params = {}
    for key, value in changes.items():
        if isinstance(value, dict):
            single |= {f"++{key}.{name}": entry for name, entry in value.items()}
        else:
            single[key] = value
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in single.items()}
    return [word for key, value in values.items() for word in ("--set-param", f"{key}={value}")]


def sweep(key: str, default: Any) -> dict[float, str]:
    """value -> experiment, for those that set `key` alone; `default` is its value in params.yaml."""
    points = {float(default): "default"}
    for name, content in experiments().items():
        if list(content["set"]) == [key]:
            points.setdefault(float(content["set"][key]), name)
    return dict(sorted(points.items()))
