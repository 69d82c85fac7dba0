"""Measure the coverage of 95 % intervals of the UAR by number of speakers, and their time beside scipy's bootstrap."""

from typing import Any

import click
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from emodna.model.evaluation.intervals import Resampling, resample_speakers, resample_utterances
from emodna.model.metrics import compute_scores
from tests.benchmarks.timing import Rounds, measure_cpu_time

#: Speakers, and utterances of each: like SAVEE, EMODB, RAVDESS, and a larger corpus.
SIZES = ((4, 120), (10, 54), (24, 60), (90, 60))
#: Standard deviation of a class's recall between speakers.
DEVIATIONS = (0.0, 0.05, 0.1, 0.15)
RECALL = 0.7


def simulate_confusions(rng: np.random.Generator, speakers: int, each: int, deviation: float) -> NDArray[np.int64]:
    """Return confusions (speakers, 4) of speakers whose recalls vary around one mean."""
    recalls = np.full((speakers, 2), RECALL)
    if deviation:
        strength = RECALL * (1 - RECALL) / deviation**2 - 1  # of a beta distribution
        recalls = rng.beta(RECALL * strength, (1 - RECALL) * strength, size=(speakers, 2))
    right = rng.binomial(each // 2, recalls)
    return np.stack([right[:, 0], each // 2 - right[:, 0], each // 2 - right[:, 1], right[:, 1]], axis=1)


def measure_coverage(
    rng: np.random.Generator, trials: int, speakers: int, each: int, deviation: float
) -> tuple[float, float]:
    """Return the percent of trials whose intervals over utterances and over speakers contain the true UAR."""
    resampling, held = Resampling(resamples=1000), np.zeros(2)
    for _ in range(trials):
        counts = simulate_confusions(rng, speakers, each, deviation)
        for place, found in enumerate(
            (resample_utterances(counts.sum(axis=0), resampling), resample_speakers(counts, resampling))
        ):
            held[place] += found["uar"][0] <= 100 * RECALL <= found["uar"][1]
    utterances, by_speakers = 100 * held / trials
    return float(utterances), float(by_speakers)


def bootstrap_with_scipy(counts: NDArray[np.int64], resamples: int) -> object:
    """Compute the same scores by drawing utterances one by one."""
    kind = np.repeat(np.arange(4), counts)

    def statistic(rows: Any, axis: int) -> Any:
        return compute_scores(np.stack([(kind[rows] == each).sum(axis) for each in range(4)], axis=-1)).T

    return scipy.stats.bootstrap(
        (np.arange(len(kind)),), statistic, n_resamples=resamples, method="percentile", rng=0, batch=200
    )


@click.command()
@click.option("--trials", default=1000, show_default=True, help="Simulated corpora per row.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of both, by turns.")
def main(trials: int, rounds: int) -> None:
    """Print coverage, then times."""
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
