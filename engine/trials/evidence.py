"""What test images say of a trial: frozen records of accuracy, what lies behind it, and how sure it is. JSON in, JSON out."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

TIED_P = 0.05
"""Below this the test tells two networks apart."""


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval (95 % unless the field says otherwise)."""

    value: float
    low: float
    high: float


def interval_of(record: dict[str, float] | None) -> Interval | None:
    """The inverse of `asdict`, None for None."""
    return None if record is None else Interval(**record)


@dataclass(frozen=True)
class Accuracy:
    """Share of images that are right, in [0, 1], with its Wilson interval, over `n` images.

    `p_vs_baseline`: McNemar's mid-p that this trial and the baseline are equally good on these images; `vs_baseline`: this share minus the
    baseline's, with Tango's paired interval. None for the baseline, and where it was not computed. `exact_sums`: the share right on CPUs
    whose int8 sums are exact, where the CPU that counted is one whose sums saturate; None where the file answers alike on both.
    """

    value: float
    low: float
    high: float
    n: int
    p_vs_baseline: float | None = None
    vs_baseline: Interval | None = None
    exact_sums: float | None = None

    @property
    def tied_with_baseline(self) -> bool | None:
        """Whether the test does not tell this trial from the baseline (mid-p of at least 0.05); None for the baseline itself."""
        return None if self.p_vs_baseline is None else self.p_vs_baseline >= TIED_P

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Accuracy:
        """The inverse of `asdict`."""
        return cls(**{**record, "vs_baseline": interval_of(record.get("vs_baseline"))})


@dataclass(frozen=True)
class Score:
    """What the spec's own metric says of the test samples, in base units, with its 95 % interval, over `n` of them.

    `key` says what the metric is called, its unit and which way is better (`engine/metrics.py`). `p_vs_baseline`: that this trial and the
    baseline are equally good on these samples, by swapping the two sample by sample, or by the bootstrap of a metric of the whole set;
    `vs_baseline`: this number minus the baseline's, paired. None for the baseline. `exact_sums`: as of an accuracy.
    """

    key: str
    value: float
    low: float
    high: float
    n: int
    p_vs_baseline: float | None = None
    vs_baseline: Interval | None = None
    exact_sums: float | None = None

    @property
    def tied_with_baseline(self) -> bool | None:
        """As of an accuracy."""
        return None if self.p_vs_baseline is None else self.p_vs_baseline >= TIED_P

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Score:
        """The inverse of `asdict`."""
        return cls(**{**record, "vs_baseline": interval_of(record["vs_baseline"])})


@dataclass(frozen=True)
class WorstClass:
    """The class whose recall fell most against the baseline: its name and by how much, as a share (negative where it rose)."""

    name: str
    drop: float


@dataclass(frozen=True)
class Quality:
    """What accuracy alone does not tell; all shares in [0, 1], intervals of 95 %, None where it cannot be told.

    `top5`: the label is among the five likeliest classes (more than 5 classes only). `class_recall`: share right by class, in the order
    of the classes, None for a class without images; `lowest_recall` is the least of them. `flip_rate`: share of images with another answer
    than the baseline's; `harmful_flip_rate`: of those that it had right and the trial has wrong. `nll`: negative log-likelihood of the
    label in nats, the mean over images. `ece`: expected calibration error over 15 bins of equal width. `intervals`: those of the figures
    that are worst of several (`lowest_recall`, `worst_class_drop`, `ece`; quality/extremes.py), by name; records of before have none.
    """

    top5: Interval | None
    class_recall: tuple[float | None, ...]
    lowest_recall: float
    worst_class: WorstClass | None
    flip_rate: Interval | None
    harmful_flip_rate: Interval | None
    nll: Interval | None
    ece: float | None
    intervals: dict[str, Interval] = field(default_factory=dict)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Quality:
        """The inverse of `asdict`."""
        intervals = {k: interval_of(record[k]) for k in ("top5", "flip_rate", "harmful_flip_rate", "nll")}
        worst = record["worst_class"]
        more = {
            "class_recall": tuple(record["class_recall"]),
            "worst_class": WorstClass(**worst) if worst else None,
            "intervals": {k: Interval(**v) for k, v in record.get("intervals", {}).items()},
        }
        return cls(**{**record, **intervals, **more})


@dataclass(frozen=True)
class Fidelity:
    """How closely a trial answers like the baseline, which needs no labels; each with its 95 % interval, None where outputs have no such
    thing.

    Of classes: `agreement`, the share of samples with the same answer; `kl`, the Kullback-Leibler divergence of the trial's class
    probabilities from the baseline's in nats, the mean over samples. Of values: `relative_error`, the length of the difference as a share
    of the length of the baseline's outputs about their mean; `cosine` of the angle between both, the mean over samples; `neighbours`, the
    share of the ten nearest samples that both have.
    """

    agreement: Interval | None = None
    kl: Interval | None = None
    relative_error: Interval | None = None
    cosine: Interval | None = None
    neighbours: Interval | None = None

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Fidelity:
        """The inverse of `asdict`."""
        return cls(**{name: interval_of(part) for name, part in record.items()})


@dataclass(frozen=True)
class Confirmation:
    """A trial evaluated on the held-back test samples, which no other figure has seen.

    `score`, in a sweep with a metric of its own, and `accuracy`, where there are labels, are compared with the baseline on the same
    samples; `baseline` is the baseline's own number of what the sweep is judged by. `order`: this was the so-many-th trial of its sweep
    confirmed on them; to choose among several by these figures would flatter the chosen one again. `when` is UTC.
    """

    accuracy: Accuracy | None
    baseline: float
    order: int
    when: str
    score: Score | None = None

    @property
    def judged(self) -> Accuracy | Score:
        """What the sweep is judged by."""
        found = self.score or self.accuracy
        assert found is not None, "one of the two is there"
        return found

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Confirmation:
        """The inverse of `asdict`."""
        accuracy, score = record["accuracy"], record.get("score")
        parts = {"accuracy": accuracy and Accuracy.from_json(accuracy), "score": score and Score.from_json(score)}
        return cls(**{**record, **parts})


@dataclass(frozen=True)
class SeedRun:
    """One seed's run of a recipe that trains: its accuracy as a share, or what it is judged by instead, bytes and name of its file."""

    seed: int
    accuracy: float
    size_bytes: int
    artifact: str


@dataclass(frozen=True)
class Seeds:
    """A recipe run over several seeds: mean, standard deviation (n - 1) and range of its accuracy, as shares, and each run. `key` is that
    of what it is judged by instead, where that is something else.
    """

    runs: tuple[SeedRun, ...]
    mean: float
    deviation: float
    low: float
    high: float
    key: str = "accuracy"

    @classmethod
    def of(cls, runs: tuple[SeedRun, ...], key: str = "accuracy") -> Seeds:
        """The figures of at least two runs."""
        values = [r.accuracy for r in runs]
        return cls(runs, fmean(values), stdev(values), min(values), max(values), key)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Seeds:
        """The inverse of `asdict`."""
        return cls(**{**record, "runs": tuple(SeedRun(**r) for r in record["runs"])})
