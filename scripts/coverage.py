"""How often intervals hold the true mean and how often the paired test finds what isn't there, on differences of ours.

python scripts/coverage.py runs/demo/none runs/demo/scale runs/demo/random
python scripts/coverage.py runs/none runs/lofit-1,runs/lofit-2,runs/lofit-3     # a mean over three seeds

The differences of the questions that two finished runs share are taken for all questions there are. Samples of 8 to 200
of them are drawn with replacement; each sample gets every interval, and `covers` says in how many percent of the
samples it holds the mean of them all. `contradicts` is how often an interval and the test disagree about 0. The false
alarms are the samples with p <= 0.05 where nothing is there: the sign of each difference is drawn anew, as it is when
two runs are equally good (`signs`), or the differences are moved to a mean of 0 and keep their skew (`moved`), which is
more than the test promises.
"""

import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import stats

from lofit_cli.analysis.intervals import Interval, bounded_interval, mean_interval
from lofit_cli.analysis.sign_flips import SignFlips, flip_columns
from lofit_cli.analysis.statistics import compare_paired
from lofit_cli.artifacts.predictions import metric_scale, read_metrics

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
Intervals = dict[str, Ends]

SIZES = (8, 20, 50, 200)
SEED = 1
TINY = 1e-9
ROUNDING = 1e-13
OTHERS = ("percentile", "BCa", "bootstrap-t", "Student's t")
OURS = ("sign flips alone", "one more at each end")


def student_t(samples: Floats) -> Ends:
    """Return Student's intervals of the mean of each row."""
    reach = stats.t.ppf(0.975, samples.shape[1] - 1) * stats.sem(samples, axis=1)
    return samples.mean(axis=1) - reach, samples.mean(axis=1) + reach


def scipys_bootstrap(samples: Floats, method: str, num_resamples: int) -> Ends:
    """Return the bootstrap intervals of each row; BCa is undefined where nothing differs, and then the mean alone."""
    settings = {"axis": 1, "method": method, "n_resamples": num_resamples, "batch": 100}
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap((samples,), np.mean, rng=np.random.default_rng(SEED), **settings).confidence_interval
    mean = samples.mean(axis=1)
    return np.where(np.isnan(found.low), mean, found.low), np.where(np.isnan(found.high), mean, found.high)


def bootstrap_t(samples: Floats, num_resamples: int) -> Ends:
    """Return studentised bootstrap intervals of each row (Efron and Tibshirani 1993, chapter 12), cut at -1 and 1."""
    size = samples.shape[1]
    counts = np.random.default_rng(SEED).multinomial(size, np.full(size, 1 / size), num_resamples)
    means, squares = counts @ samples.T / size, counts @ samples.T**2 / size
    errors = np.sqrt(np.maximum(squares - means**2, 0) / (size - 1))
    shifts = means - samples.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(np.abs(shifts) < TINY, 0.0, shifts / np.where(errors < TINY, 0.0, errors))
    low, high = np.quantile(studentised, [0.025, 0.975], axis=0, method="nearest")
    error = stats.sem(samples, axis=1)
    low, high = (np.where(error < TINY, 0.0, end * error.clip(TINY)) for end in (low, high))
    return (samples.mean(axis=1) - high).clip(-1, 1), (samples.mean(axis=1) - low).clip(-1, 1)


def other_intervals(samples: Floats, num_resamples: int) -> Intervals:
    """Return the intervals that compare does not use."""
    percentile, bca = (scipys_bootstrap(samples, method, num_resamples) for method in ("percentile", "BCa"))
    return dict(zip(OTHERS, (percentile, bca, bootstrap_t(samples, num_resamples), student_t(samples)), strict=True))


def flip(samples: Floats, num_flips: int) -> list[SignFlips]:
    """Return what sign flips say of each row."""
    return flip_columns([{0: row} for row in samples], num_flips, SEED)


def ends(intervals: list[Interval]) -> Ends:
    """Return the low and the high ends of intervals."""
    return np.array([each.low for each in intervals]), np.array([each.high for each in intervals])


def covers(interval: Ends, truth: float) -> NDArray[np.bool_]:
    """Return which intervals hold a value, but for rounding."""
    return (interval[0] <= truth + ROUNDING) & (interval[1] >= truth - ROUNDING)


def describe(interval: Ends, truth: float, rejected: NDArray[np.bool_] | None) -> str:
    """Return what a cell of the table says."""
    width = 100 * np.mean(np.clip(interval[1], -1, 1) - np.clip(interval[0], -1, 1))
    cells = [f"{100 * covers(interval, truth).mean():.1f}", f"{width:.1f}"]
    return " / ".join(cells if rejected is None else [*cells, f"{100 * np.mean(covers(interval, 0) == rejected):.1f}"])


def show_row(cells: Iterable[object]) -> None:
    """Print a line of a Markdown table."""
    typer.echo(f"| {' | '.join(map(str, cells))} |")


def show_head(cells: list[str]) -> None:
    """Print the head of a Markdown table."""
    typer.echo()
    show_row(cells)
    show_row(["---"] * len(cells))


def study_differences(title: str, differences: Floats, trials: int, num_resamples: int) -> list[list[object]]:
    """Print the intervals of differences; return a row for each sample size with the false alarms."""
    rates: list[list[object]] = []
    scale = Interval(0.0, 1.0)
    for size in SIZES:
        rng = np.random.default_rng([SEED, size])
        draw = partial(rng.choice, size=(trials, size))
        samples = draw(differences)
        flips = flip(samples, num_resamples)
        used = [
            compare_paired({0: row}, {0: np.zeros(size)}, found, scale).interval
            for row, found in zip(samples, flips, strict=True)
        ]
        intervals = other_intervals(samples, num_resamples)
        intervals[OURS[0]] = ends([found.interval for found in flips])
        intervals[OURS[1]] = ends([bounded_interval({0: row}, Interval(-1.0, 1.0)) for row in samples])
        intervals["compare"] = ends(used)
        rejected = np.array([found.p_value <= 0.05 for found in flips])
        show_row([title, size, *(describe(found, float(differences.mean()), rejected) for found in intervals.values())])
        nulls = draw(differences) * rng.choice([-1, 1], (trials, size)), draw(differences - differences.mean())
        alarms = [np.mean([found.p_value <= 0.05 for found in flip(null, num_resamples)]) for null in nulls]
        alike = 100 * np.mean(np.ptp(samples, axis=1) < TINY)
        rates.append([title, size, f"{alike:.1f}", *(f"{100 * rate:.1f}" for rate in alarms)])
    return rates


def study_means(title: str, values: Floats, scale: Interval, trials: int, num_resamples: int) -> None:
    """Print the intervals of a run's own mean."""
    for size in SIZES:
        samples = np.random.default_rng([SEED, size]).choice(values, (trials, size))
        intervals = other_intervals(samples, num_resamples)
        intervals["compare"] = ends([mean_interval({0: row}, scale) for row in samples])
        show_row([title, size, *(describe(found, float(values.mean()), None) for found in intervals.values())])


def read_mean(runs: str, metric: str) -> Floats:
    """Return each question's value, averaged over the runs that commas join."""
    mean: Floats = np.mean([read_metrics(Path(run), [metric]).values[metric] for run in runs.split(",")], axis=0)
    return mean


def main(
    baseline: Annotated[str, typer.Argument(help="A finished evaluate run.")],
    others: Annotated[list[str], typer.Argument(help="Runs to set against it, or A,B,C for a mean over seeds.")],
    metrics: str = "mc1,mc2,mc3",
    trials: int = 500,
    num_resamples: int = 1000,
) -> None:
    """Print coverage and false alarm rates as Markdown tables."""
    show_head(["covers % / width / contradicts %", "n", *OTHERS, *OURS, "compare"])
    rates: list[list[object]] = []
    for metric in metrics.split(","):
        for other in others:
            title = f"{metric} {' + '.join(Path(run).name for run in other.split(','))}"
            differences = read_mean(other, metric) - read_mean(baseline, metric)
            rates += study_differences(title, differences, trials, num_resamples)
    show_head(["false alarms", "n", "all questions alike %", "signs %", "moved %"])
    for row in rates:
        show_row(row)
    show_head(["mean: covers % / width", "n", *OTHERS, "compare"])
    for metric in metrics.split(","):
        scale = Interval(*metric_scale(metric))
        study_means(f"{metric} {Path(baseline).name}", read_mean(baseline, metric), scale, trials, num_resamples)


if __name__ == "__main__":
    typer.run(main)
