"""Load a finished run and adapt its model to other corpora."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from emodna.model.data.normalisation import Statistics
from emodna.model.errors import EvaluationError, RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import SEMI_SUPERVISED, SOURCE_SUPERVISION, read_label
from emodna.model.provenance import ROLES, Role, hash_audio, read_audio
from emodna.model.run_folder import RunFolder, read_json
from emodna.model.runs.listing import find_training_store, open_run
from emodna.pipeline.errors import PrepareCorpus, Remedy
from emodna.pipeline.store import FeatureStore

#: Keys of result.json that describe the run.
_DESCRIPTION: Final = ("src", "tgt", "task", "method", "seed", "steps")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run with its model."""

    path: Path
    model: TrainedModel
    description: dict[str, Any]
    """src, tgt, task, method, seed, steps, supervision and label as in result.json, and normalisation."""
    fingerprints: dict[str, str]
    """Fingerprints of its stores, by corpus."""

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Load a run from its folder; raise a RunError if it is missing, not finished or damaged."""
        folder = RunFolder(path)
        folder.find_model()
        config = read_json(folder.config)
        model = TrainedModel.load(folder.path, device)
        try:
            decisive = config["decisive"]
            description = {name: decisive[name] for name in _DESCRIPTION}
            description["supervision"] = config.get("supervision", SOURCE_SUPERVISION)  # missing in earlier versions
            description["label"] = read_label(config)
            description["normalisation"] = decisive["train"]["normalisation"]
            return cls(path, model, description, decisive["fingerprints"])
        except (KeyError, TypeError) as error:
            raise RunError("damaged: not the configuration of a run", where=folder.config) from error

    def find_seen(self, store: FeatureStore) -> dict[Role, NDArray[np.bool_]]:
        """Return for each role the utterances (n,) of a store whose recordings the run was trained on in it.

        A source's utterances without a label of the task count as unseen. Target utterances whose labels were used have
        both roles of the target. For a run of an earlier version, which has no list of its recordings, the stores that
        it names replace the list. For a store that is missing or has changed, all utterances of a corpus with its name
        or its content count as seen. Raises RunError: the list of a semi-supervised run is missing.
        """
        hashes = hash_audio(store)
        if (recorded := read_audio(RunFolder(self.path))) is not None:
            return {role: _is_in(hashes, each) for role, each in recorded.items()}
        if self.description["supervision"] == SEMI_SUPERVISED:
            problem = "not found: it lists the recordings whose labels were used, which scores must leave out"
            raise RunError(problem, where=RunFolder(self.path).audio)
        seen = {role: np.zeros(len(store), np.bool_) for role in ROLES}
        run = open_run(self.path)
        for corpus, fingerprint in self.fingerprints.items():
            role: Role = "target" if corpus == self.description["tgt"] else "source"
            if (own := find_training_store(run, corpus).store) is not None:
                seen[role] |= _is_in(hashes, hash_audio(own, self.model.task if role == "source" else None))
            elif corpus == store.snapshot.corpus or fingerprint == store.fingerprint:
                seen[role][:] = True
        return seen

    def adapt_model(self, store: FeatureStore) -> TrainedModel:
        """Return the model with the normalisation for a corpus.

        `per-corpus` uses statistics of all its utterances, `per-speaker` those of its speakers. Raises EvaluationError
        as `check_features`.
        """
        self.check_features(store)
        if self.description["normalisation"] != "per-corpus":
            return self.model.adapt_to_speakers(store)
        statistics = Statistics.of_corpora([(self.model.view(store), np.arange(len(store)))])
        return replace(self.model, framer=replace(self.model.framer, statistics=statistics))

    def check_features(self, store: FeatureStore) -> None:
        """Raise an EvaluationError unless a store has the features that the model was trained on."""
        features = self.model.features
        if store.snapshot.feature_parameters == features.parameters():
            return
        problem = f"its features are {store.snapshot.feature_set}, the model of {self.path} needs {features.name}"
        action = PrepareCorpus(
            store.snapshot.corpus,
            store.path.parent.parent,
            features.name,
            **asdict(store.snapshot.provenance),
            parameters=features.parameters(),
            location=features.location,
        )
        remedy = Remedy("prepare the corpus with the model's feature set", action)
        raise EvaluationError(problem, where=store.path, remedy=remedy)


def _is_in(hashes: pa.Array, known: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_in(hashes, value_set=known).to_numpy(zero_copy_only=False)
    return found
