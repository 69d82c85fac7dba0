"""What a run's method is given: windows of the stores, normalised, with those labels that it may see."""

from collections.abc import Sequence
from dataclasses import dataclass

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.framing import Framer
from emodna.model.data.normalisation import Statistics, statistics_of_run
from emodna.model.data.stream import CorpusWindows, FoldStream, LabelledTargetStream, SourceStream, Stream, TargetStream
from emodna.model.plan import Plan
from emodna.pipeline.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Feed:
    """The streams of a run, and how utterances become windows in them."""

    labelled: Stream[LabelledBatch]
    """Of the sources; for an oracle that is cross-validated, of the target."""
    target: Stream[Batch]
    of_sources: Sequence[Framer]
    of_target: Framer


def feed(plan: Plan) -> Feed:
    """Make the streams. Here alone an oracle, and nothing else, is given labels of the target."""
    request, train = plan.request, plan.train
    target, labels = request.target, [(each.store, each.labels) for each in plan.splits]
    statistics, of_target = statistics_of_run(train.normalisation, labels, target)

    def windows(store: FeatureStore, own: Statistics | None) -> CorpusWindows:
        framer = Framer(train.frames, train.padding, own, plan.features.silence)
        return CorpusWindows(store, framer, plan.facts.languages)

    sources = [(windows(store, own), each) for (store, each), own in zip(labels, statistics, strict=True)]
    targets = windows(target, of_target)
    batches = {"batch_size": train.batch_size, "seed": request.seed}
    labelled: Stream[LabelledBatch] = SourceStream(sources, **batches)
    unlabelled: Stream[Batch] = TargetStream(targets, **batches)
    if plan.supervision == "oracle-labels":
        unlabelled = LabelledTargetStream(targets, target.labels(request.task), **batches)
    elif plan.folds is not None:
        labelled = FoldStream(
            targets, [plan.folds.training(fold) for fold, _ in enumerate(plan.folds.speakers)], **batches
        )
    return Feed(labelled, unlabelled, [own.framer for own, _ in sources], targets.framer)
