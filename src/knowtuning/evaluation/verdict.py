"""Whether the method beat the baseline, in one line that nobody has to work out from tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from knowtuning.evaluation.metrics import label, metric
from knowtuning.evaluation.pairwise import CONTROLLED, Contest
from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.summary import POOLED
from knowtuning.systems import BASELINE, METHOD

# Ways to win that nobody wants: a rise by so many points is a warning.
RISES = {"truncated": "cut off at the token limit", "repeated": "repeated"}
POINTS = 3.0


@dataclass(frozen=True)
class Verdict:
    """The metrics, by label, in which the method differs from the baseline: its interval leaves out 0.

    equal_length: aspects of the pairwise verdicts with the difference in length taken out, as "better" and
    "worse"; None where nobody judged. warnings: what a user should know before an adapter is used.
    """

    method: str
    baseline: str
    better: list[str]
    worse: list[str]
    equal_length: dict[str, list[str]] | None
    warnings: list[str]

    @property
    def line(self) -> str:
        """The verdict as a sentence."""
        said = f"{self.method} is better than {self.baseline} in {_listed(self.better)}, worse in "
        said += _listed(self.worse)
        if self.equal_length is not None:
            better, worse = (_listed(self.equal_length[side]) for side in ("better", "worse"))
            said += f"; judged at equal length, better in {better}, worse in {worse}"
        return f"{said}."

    def metrics(self) -> dict[str, object]:
        """For a metrics file."""
        return {"line": self.line, **asdict(self)}


def verdict(differences: Mapping[str, Estimate], contests: Sequence[Contest]) -> Verdict:
    """differences: of the method to the baseline, by score name. contests: of all pairs that were judged."""
    sides: dict[int, list[str]] = {1: [], -1: []}
    for name, found in differences.items():
        # The pooled rate is a second view of the same facts.
        direction = 0 if name == POOLED else metric(name).better
        if direction and found.n and found.excludes_zero:
            sides[1 if found.value * direction > 0 else -1].append(_in_a_sentence(label(name)))
    judged = [one for one in contests if (one.a, one.b) == (METHOD, BASELINE)]
    warnings = [
        f"{METHOD} has {differences[name].value:.1f} points more {said} than {BASELINE}"
        for name, said in RISES.items()
        if name in differences and differences[name].value > POINTS
    ]
    if not sides[1]:
        warnings.insert(0, f"{METHOD} is not shown to be better than {BASELINE} in anything")
    return Verdict(METHOD, BASELINE, sides[1], sides[-1], _at_equal_length(judged), warnings)


def _at_equal_length(judged: Sequence[Contest]) -> dict[str, list[str]] | None:
    if not judged:
        return None
    nets = {one.aspect: one.estimates[CONTROLLED] for one in judged}
    clear = {aspect: net.value for aspect, net in nets.items() if net.n and net.excludes_zero}
    return {
        "better": [aspect for aspect, value in clear.items() if value > 0],
        "worse": [aspect for aspect, value in clear.items() if value < 0],
    }


def _in_a_sentence(name: str) -> str:
    """A label in lower case, but for one that is an acronym."""
    return name if name[:2].isupper() else name[:1].lower() + name[1:]


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`, or `nothing`."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"
