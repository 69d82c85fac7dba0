"""Measure the coverage of 95 % intervals of the UAR by number of speakers, and compare their time with scipy's."""

from typing import Any

import click
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from emodna.model.evaluation.intervals import Resampling, resample_speakers, resample_utterances
from emodna.model.metrics import compute_scores
from tests.benchmarks.timing import Rounds, measure_cpu_time

#: Number of speakers, and of utterances of each: as in SAVEE, EMODB, RAVDESS and a larger corpus.
SIZES = ((4, 120), (10, 54), (24, 60), (90, 60))
#: Standard deviations of the recall of a class over speakers.
DEVIATIONS = (0.0, 0.05, 0.1, 0.15)
RECALL = 0.7


def simulate_confusions(rng: np.random.Generator, speakers: int, each: int, deviation: float) -> NDArray[np.int64]:
    """Return confusions (speakers, 2, 2) of speakers whose recalls vary around `RECALL`."""
    recalls = np.full((speakers, 2), RECALL)
    if deviation:
        strength = RECALL * (1 - RECALL) / deviation**2 - 1  # of a beta distribution
        recalls = rng.beta(RECALL * strength, (1 - RECALL) * strength, size=(speakers, 2))
    right = rng.binomial(each // 2, recalls)
    return np.stack([right[:, 0], each // 2 - right[:, 0], each // 2 - right[:, 1], right[:, 1]], axis=1).reshape(
        -1, 2, 2
    )


def measure_coverage(
    rng: np.random.Generator, trials: int, speakers: int, each: int, deviation: float
) -> tuple[float, float]:
    """Return the percent of trials whose intervals over utterances and over speakers contain the true UAR."""
    resampling, covered = Resampling(resamples=1000), np.zeros(2)
    for _ in range(trials):
        counts = simulate_confusions(rng, speakers, each, deviation)
        intervals = resample_utterances(counts.sum(axis=0), resampling), resample_speakers(counts, resampling)
        covered += [interval["uar"][0] <= 100 * RECALL <= interval["uar"][1] for interval in intervals]
    over_utterances, over_speakers = (100 * covered / trials).tolist()
    return over_utterances, over_speakers


def bootstrap_with_scipy(counts: NDArray[np.int64], resamples: int) -> object:
    """Compute the same intervals by drawing utterances one by one."""
    outcomes = np.repeat(np.arange(4), counts.ravel())

    def statistic(rows: Any, axis: int) -> Any:
        counts = np.stack([(outcomes[rows] == each).sum(axis) for each in range(4)], axis=-1)
        return compute_scores(counts.reshape(*counts.shape[:-1], 2, 2)).T

    return scipy.stats.bootstrap(
        (np.arange(len(outcomes)),), statistic, n_resamples=resamples, method="percentile", rng=0, batch=200
    )


@click.command()
@click.option("--trials", default=1000, show_default=True, help="Simulated corpora per row.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of both, in turn.")
def main(trials: int, rounds: int) -> None:
    """Print the coverage, then the times."""
    rng = np.random.default_rng(0)
    click.echo(f"percent of {trials} simulated corpora whose interval contains the true UAR of {100 * RECALL:g}: "
               "over utterances / over speakers")  # fmt: skip
    click.echo("speakers x utterances |" + " |".join(f"  recalls vary by {each:4.2f}" for each in DEVIATIONS))
    for speakers, each in SIZES:
        cells = [measure_coverage(rng, trials, speakers, each, deviation) for deviation in DEVIATIONS]
        click.echo(f"{speakers:8} x {each:10} |" + " |".join(f"{a:12.1f} / {b:5.1f}" for a, b in cells))
    counts = simulate_confusions(rng, 24, 60, 0.1)
    whole, resampling = counts.sum(axis=0), Resampling()
    works = {
        "ours": lambda: measure_cpu_time(
            lambda: (resample_utterances(whole, resampling), resample_speakers(counts, resampling))
        ),
        "scipy": lambda: measure_cpu_time(lambda: bootstrap_with_scipy(whole, 10_000)),
    }
    taken = Rounds(works, rounds)
    ours, theirs, ratio = taken.median("ours"), taken.median("scipy"), taken.ratio("scipy", "ours")
    click.echo(f"10000 resamples of 1440 utterances, median of {rounds} rounds, CPU time")
    click.echo(f"emodna, over utterances and over 24 speakers {1000 * ours:8.1f} ms")
    click.echo(f"scipy.stats.bootstrap, over utterances       {1000 * theirs:8.1f} ms   ratio {ratio:.0f}")


if __name__ == "__main__":
    main()
