"""Whether the method beat the baseline, in one line that nobody has to work out from tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowtuning.evaluation.metrics import EQUAL_LENGTH, label, metric
from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.summary import POOLED
from knowtuning.systems import BASELINE, METHOD

# Ways to win that nobody wants: a rise by so many points is a warning.
RISES = {"truncated": "cut off at the token limit", "repeated": "repeated"}
POINTS = 3.0
# What keeps answers from running on (docs/study.md, "One choice changed" and real text).
_ENDING = "perturb.fill: repeat and train_kc.counted: differing teach answers to end"
# Fewer questions that all lean one way do so by chance in more than 5 of 100 runs: two sides of 2 to the -5.
_FEW = 6


@dataclass(frozen=True)
class Verdict:
    """The metrics, by label, in which the method differs from the baseline: its interval leaves out 0.

    equal_length: "better" and "worse" of answers cut to equal length, and for the pairwise verdicts
    with the difference in length taken out ("judged completeness"); None where the run has neither.
    warnings: what a user should know before an adapter is used.
    """

    method: str
    baseline: str
    better: list[str]
    worse: list[str]
    equal_length: dict[str, list[str]] | None
    warnings: list[str]

    @property
    def line(self) -> str:
        line = f"{self.method} is better than {self.baseline} in {_listed(self.better)}, worse in "
        line += _listed(self.worse)
        if self.equal_length is not None:
            better, worse = (_listed(self.equal_length[side]) for side in ("better", "worse"))
            line += f"; at equal length better in {better}, worse in {worse}"
        return f"{line}."

    def metrics(self) -> dict[str, Any]:
        """For a metrics file, without lists, which DVC leaves out: names joined, warnings numbered from 1."""
        equal = {side: _listed(names) for side, names in (self.equal_length or {}).items()}
        return {
            "line": self.line,
            "method": self.method,
            "baseline": self.baseline,
            "better": _listed(self.better),
            "worse": _listed(self.worse),
            "equal_length": equal,
            "warnings": {str(number): line for number, line in enumerate(self.warnings, 1)},
        }


def verdict(
    differences: Mapping[str, Estimate], nets: Mapping[str, Estimate], *, against: str = BASELINE
) -> Verdict:
    """differences: of the method to the system `against`, by score name. nets: the net rates of their
    pairwise verdicts at equal length, by aspect."""
    # The pooled rate is a second view of the same facts.
    apart = {name: each for name, each in differences.items() if name != POOLED}
    cut = {name: each for name, each in apart.items() if EQUAL_LENGTH in name}
    whole = _sides({name: each for name, each in apart.items() if name not in cut})
    equal = _sides(cut)
    for side, sign in (("better", 1), ("worse", -1)):
        equal[side] += [f"judged {aspect}" for aspect, net in nets.items() if _direction(net) == sign]
    rises = [
        f"{differences[name].value:.1f} points more {words}"
        for name, words in RISES.items()
        if name in differences and differences[name].value > POINTS
    ]
    warnings = [f"{METHOD} has {_listed(rises)} than {against}; {_ENDING}"] if rises else []
    if not whole["better"]:
        warnings.insert(0, f"{METHOD} is not shown to be better than {against} in anything")
    questions = max((each.n for each in differences.values()), default=0)
    if questions < _FEW:
        warnings.append(f"an interval over {questions} questions shows nothing; expected {_FEW} or more")
    return Verdict(METHOD, against, **whole, equal_length=equal if cut or nets else None, warnings=warnings)


def _sides(differences: Mapping[str, Estimate]) -> dict[str, list[str]]:
    """Labels of the metrics that differ for the better and for the worse, without "at equal length"."""
    sides: dict[str, list[str]] = {"better": [], "worse": []}
    for name, difference in differences.items():
        direction = metric(name).better * _direction(difference)
        if direction:
            plain = label(name.replace(EQUAL_LENGTH, ""))
            sides["better" if direction > 0 else "worse"].append(in_a_sentence(plain))
    return sides


def _direction(difference: Estimate) -> int:
    """The sign of a difference; 0 where its interval holds 0 or nothing defines it."""
    if not difference.n or not difference.excludes_zero:
        return 0
    return 1 if difference.value > 0 else -1


def in_a_sentence(name: str) -> str:
    """A label in lower case, but for one that is an acronym; what stands behind a comma, in brackets."""
    first, _, last = (name if name[:2].isupper() else name[:1].lower() + name[1:]).partition(", ")
    return f"{first} ({last})" if last else first


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`, or `nothing`."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"
