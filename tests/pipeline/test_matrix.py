"""The stated invalidation matrix against DVC's own comparison of dependencies."""

from __future__ import annotations

from pathlib import Path

import matrix
import yaml


def flat(found: matrix.Matrix) -> dict[str, str]:
    """Key or file -> the stages it re-runs."""
    return {name: stages for part in found.values() for stages, names in part.items() for name in names}


def test_every_key_and_file_reruns_what_the_matrix_states(tmp_path: Path) -> None:
    stated = flat(yaml.safe_load(matrix.GOLDEN.read_text(encoding="utf-8")))
    real = flat(matrix.matrix(tmp_path))
    wrong = {
        name: f"stated {stated.get(name, 'not at all')}, DVC says {real.get(name, 'not there')}"
        for name in stated.keys() | real.keys()
        if stated.get(name) != real.get(name)
    }
    assert not wrong, f"{wrong}; if that is meant: python tests/pipeline/matrix.py"


def test_the_matrix_is_what_the_method_says() -> None:
    # By the graph of the method, not by dvc.yaml: each part reaches what is behind it and nothing else.
    stated = flat(yaml.safe_load(matrix.GOLDEN.read_text(encoding="utf-8")))
    kc = ["train_kc", "predict@kc", "evaluate"]
    ka = ["train_ka", "predict@ka", *kc]
    for name, stages in {
        "train_kc.beta": kc,
        "stages/train_kc.py": kc,
        "perturb.style": ["perturb", *kc],
        "train_ka.lr": ka,
        "rewrite.alpha": ["rewrite", *ka],
        "train_sft.lr": ["train_sft", "predict@sft", "evaluate"],
        "evaluate.resamples": ["evaluate"],
    }.items():
        assert sorted(stated[name].split()) == sorted(stages), name
    # Whatever the teacher is told or told to use, the plain baseline stays as it is.
    for name in ("teacher.model", "prompts/extract.txt", "prompts/revise.txt"):
        assert not {"train_sft", "base", "predict@sft"} & set(stated[name].split())
