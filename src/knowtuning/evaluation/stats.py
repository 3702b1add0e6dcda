"""Bootstrap intervals for means, ratios and differences, with questions, or those of one subject together, as
the unit of resampling.

Every statistic here is a ratio of sums over questions, sum(numerator) / sum(denominator): a mean has the
denominator 1 for each defined value and 0 for an undefined one (NaN), a pooled rate has counts in both.
A resample is then a weight per question, and one matrix product gives all statistics of a block of
resamples. All statistics of a call share the weights, so differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowtuning.core.records import Example
from knowtuning.core.storage import record_rng
from knowtuning.core.text import normal_form, words

Floats = NDArray[np.float64]

# Weights held in memory at a time (8 bytes each).
_BLOCK = 2_000_000


def length(text: str) -> int:
    """Words of a text, split at white space; of scripts that put none between words, characters.

    The length that metrics, length control and the shortcut audit mean.
    """
    # Most parts are plain ASCII; to look for words in these would take fifty times as long.
    return sum(
        1 if part.isascii() else max(1, sum(len(word) == 1 and word > "\u0e00" for word in words(part)))
        for part in text.split()
    )


@dataclass(frozen=True)
class Estimate:
    """A statistic with its percentile bootstrap interval, rounded to four decimals when it is made.

    So every table, file and page shows the same digits. n: questions on which it is defined. With n = 0
    value, low and high are NaN.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0

    def __neg__(self) -> Estimate:
        """The estimate of the difference taken the other way round."""
        return Estimate(-self.value, -self.high, -self.low, self.n)

    def flat(self, name: str) -> dict[str, float]:
        """The value and its bounds as metrics `name`, `name_low`, `name_high`; none where undefined."""
        if not self.n:
            return {}
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def unit_of(example: Example) -> str:
    """What the source names as the subject of a question (world: its town, MedQuAD: its focus), else its id.

    Answers to questions about one subject are right or wrong together: they are no independent draws.
    """
    subject = normal_form(str(example.meta.get("entity") or example.meta.get("focus") or ""))
    return subject or example.id


@dataclass(frozen=True)
class Resampling:
    """Settings of the bootstrap. confidence: level of the interval, in (0, 1).

    units: of each question in turn, see `unit_of`; those of a unit are drawn together. None: each for itself.
    """

    seed: int
    resamples: int = 10_000
    confidence: float = 0.95
    units: Sequence[str] | None = None

    def at(self, positions: Sequence[int]) -> Resampling:
        """How the questions at these positions are resampled without the others."""
        return self if self.units is None else replace(self, units=[self.units[i] for i in positions])

    def generator(self, purpose: str) -> np.random.Generator:
        """A generator that depends on the seed and on `purpose` alone."""
        return np.random.default_rng(record_rng(self.seed, "bootstrap", purpose).getrandbits(64))

    def bounds(self, draws: Floats) -> tuple[Floats, Floats]:
        """Lower and upper percentiles over the first axis; undefined draws do not count."""
        tail = (1 - self.confidence) / 2
        undefined = np.isnan(draws).all(axis=0)
        low, high = np.nanquantile(np.where(undefined, 0.0, draws), [tail, 1 - tail], axis=0)
        return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


@dataclass(frozen=True)
class Ratios:
    """Statistics as ratios of sums over questions; both arrays have the shape (questions, statistics)."""

    numerator: Floats
    denominator: Floats

    @classmethod
    def of_means(cls, values: ArrayLike) -> Ratios:
        """Means of the columns of `values`, (questions,) or (questions, statistics); NaN is undefined."""
        table = _table(values)
        defined = ~np.isnan(table)
        return cls(np.where(defined, table, 0.0), defined.astype(np.float64))

    @classmethod
    def of_sums(cls, numerator: ArrayLike, denominator: ArrayLike) -> Ratios:
        """Ratios of the sums of two arrays of one shape, (questions,) or (questions, statistics)."""
        return cls(_table(numerator), _table(denominator))

    @classmethod
    def joined(cls, parts: Sequence[Ratios]) -> Ratios:
        """The statistics of `parts`, which are over the same questions, side by side."""
        return cls(
            np.hstack([part.numerator for part in parts]), np.hstack([part.denominator for part in parts])
        )

    @property
    def values(self) -> Floats:
        """The statistics on the data itself, shape (statistics,); NaN where undefined."""
        return divide(self.numerator.sum(axis=0), self.denominator.sum(axis=0))

    @property
    def defined(self) -> NDArray[np.int64]:
        """Number of questions that each statistic rests on, shape (statistics,)."""
        return np.asarray((self.denominator != 0).sum(axis=0), dtype=np.int64)

    def draws(self, how: Resampling, purpose: str) -> Floats:
        """The statistics on every resample, shape (resamples, statistics)."""
        numerator, denominator = (_by_unit(part, how.units) for part in (self.numerator, self.denominator))
        blocks = resample_counts(how.generator(purpose), len(numerator), how.resamples)
        return np.vstack([divide(w @ numerator, w @ denominator) for w in blocks])


def _table(values: ArrayLike) -> Floats:
    """`values` with a column per statistic. Raises ValueError where there is no question."""
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if len(table) == 0:
        raise ValueError("found no values; expected those of at least one question")
    return table


def _by_unit(table: Floats, units: Sequence[str] | None) -> Floats:
    """Sums over the questions of each unit, in the order in which the units come first."""
    if units is None:
        return table
    numbers = numbered(units)
    sums = np.zeros((max(numbers, default=-1) + 1, table.shape[1]))
    np.add.at(sums, numbers, table)
    return sums


def numbered(units: Sequence[str]) -> NDArray[np.int64]:
    """The number of each unit, from 0 in the order in which they come first."""
    number = {unit: index for index, unit in enumerate(dict.fromkeys(units))}
    return np.array([number[unit] for unit in units], dtype=np.int64)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    nowhere = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=nowhere, where=denominator != 0)


def resample_counts(
    random: np.random.Generator, units: int, resamples: int, *, width: int | None = None
) -> Iterator[Floats]:
    """Blocks of (rows, units): how often each unit occurs in each resample, all blocks together.

    width: numbers that the caller makes from a row, where they are more than the units.
    """
    rows = max(1, _BLOCK // max(units, width or 0))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = random.integers(units, size=(count, units))
        drawn += np.arange(count)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=count * units)
        yield counts.reshape(count, units).astype(np.float64)


def estimates(ratios: Ratios, how: Resampling, purpose: str = "mean") -> list[Estimate]:
    """Every statistic of `ratios` with its interval."""
    return summarise(ratios.values, ratios.draws(how, purpose), ratios.defined, how)


def summarise(values: Floats, draws: Floats, defined: NDArray[np.int64], how: Resampling) -> list[Estimate]:
    """Estimates from values (statistics,), draws (resamples, statistics) and counts (statistics,)."""
    low, high = how.bounds(draws)
    return [
        Estimate(round(float(v), 4), round(float(a), 4), round(float(b), 4), int(n))
        for v, a, b, n in zip(values, low, high, defined, strict=True)
    ]


def bootstrap_p(draws: ArrayLike) -> float:
    """Two-sided p value of "the statistic is 0" from its resamples (resamples,); NaN draws do not count.

    Twice the smaller share of draws on either side of 0, draws at 0 on both, each share with one count
    added (Davison & Hinkley 1997, 4.2.3): never 0, and below 1 - confidence where the percentile interval
    excludes 0, up to that one count. NaN where no draw is defined.
    """
    defined = np.asarray(draws, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    if not len(defined):
        return float("nan")
    fewer = min((defined <= 0).sum(), (defined >= 0).sum())
    return min(1.0, 2 * float(fewer + 1) / (len(defined) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for testing all of them together (Holm 1979), in the order given.

    The i-th smallest of m counts m - i + 1 times, and no less than the smaller ones. A NaN is no test: it
    stays NaN and is not counted in m.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p == p)
    adjusted = [float("nan")] * len(p_values)
    floor = 0.0
    for rank, (p, index) in enumerate(tested):
        floor = max(floor, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = floor
    return adjusted


def pool(
    runs: Sequence[ArrayLike],
    how: Resampling,
    *,
    against: Sequence[ArrayLike] | None = None,
    units: Sequence[Sequence[str]] | None = None,
) -> Estimate:
    """Mean over several runs (seeds) with both sources of variance in its interval.

    Two-level bootstrap: runs are drawn with replacement, then questions within each drawn run. The
    value is the mean of the runs' means, each run counting alike. With few runs the interval is too
    narrow, as every bootstrap over few units is: quote the number of runs with it.

    runs: per-question values of each run, NaN undefined. against: values of another system on the same
    questions of the same runs; the estimate is then the mean difference, resampled in pairs. units: of the
    questions of each run, see Resampling.
    """
    tables = [Ratios.of_means(values) for values in runs]
    if against is not None:
        others = [Ratios.of_means(values) for values in against]
        tables = [Ratios.joined(pair) for pair in zip(tables, others, strict=True)]
    of_runs = [how] * len(tables) if units is None else [replace(how, units=each) for each in units]
    # (runs, resamples, statistics)
    numbered_runs = enumerate(zip(tables, of_runs, strict=True))
    draws = np.stack([table.draws(its, f"pool/{i}") for i, (table, its) in numbered_runs])
    values = np.stack([table.values for table in tables])
    if against is not None:
        draws, values = draws[..., :1] - draws[..., 1:], values[:, :1] - values[:, 1:]
    chosen = how.generator("pool/runs").integers(len(tables), size=(how.resamples, len(tables)))
    # A run drawn twice must bring other questions the second time: take them from the next resample.
    rows = (np.arange(how.resamples)[:, None] + np.arange(len(tables))) % how.resamples
    pooled = draws[chosen, rows, :].mean(axis=1)
    defined = np.sum([table.defined.min() for table in tables], keepdims=True)
    return summarise(values.mean(axis=0), pooled, defined, how)[0]
