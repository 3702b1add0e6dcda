"""The inputs of verify and evaluate in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.records import Example, Pair, Prediction, Probed, write_jsonl
from knowtuning.core.storage import write_json
from tests.support.checkout import PROMPTS
from tests.support.params import write_params
from tests.support.records import preference_pair, scored_facts


def write_inputs(
    folder: Path,
    towns: Mapping[str, Any],
    examples: Sequence[Example],
    answers: Mapping[str, list[Prediction]],
    changes: Mapping[str, Any],
    *,
    probes: Iterable[Probed] = (),
    pairs: Iterable[Pair] | None = None,
) -> Path:
    """Questions, answers and what else the stages read, in `folder`; changes: to params.yaml, dotted."""
    data = folder / "data"
    write_params(folder, {"evaluate.resamples": 1000, **changes})
    (folder / "prompts").symlink_to(PROMPTS)
    write_json(data / "prepared/truth.json", {"towns": towns})
    write_jsonl(data / "prepared/test.jsonl", examples)
    write_jsonl(data / "prepared/train.jsonl", [])
    for system, predictions in answers.items():
        write_jsonl(data / f"predictions/{system}.jsonl", predictions)
    write_jsonl(data / "probe/scores.jsonl", probes)
    # Those of perplexity 1 and 2 are recalled, 3 and 4 are not: perfectly ranked.
    facts = scored_facts("a", [1.0, 2.0, 3.0, 4.0], [True, True, False, False])
    write_jsonl(data / "knowledge/scored_facts.jsonl", [facts])
    write_jsonl(data / "knowledge/pairs.jsonl", pairs or [preference_pair("A b, c.", "A. B.")])
    return folder
