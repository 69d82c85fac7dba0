"""Load a finished run and adapt its model to other corpora."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import torch

from emodna.model.data.normalisation import Statistics
from emodna.model.errors import EvaluationError, RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import SOURCE_SUPERVISION, read_label
from emodna.model.run_folder import JOIN, RunFolder, read_json
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

    def find_role(self, store: FeatureStore) -> Literal["source", "target"] | None:
        """Return the role of a corpus in the training, by its name or its content; None if it had none."""
        for corpus in (*self.description["src"].split(JOIN), self.description["tgt"]):
            if corpus == store.snapshot.corpus or self.fingerprints[corpus] == store.fingerprint:
                return "target" if corpus == self.description["tgt"] else "source"
        return None

    def adapt_model(self, store: FeatureStore) -> TrainedModel:
        """Return the model with the normalisation for a corpus: `per-corpus` uses statistics of all its utterances.

        Raises EvaluationError as `check_features`.
        """
        self.check_features(store)
        if self.description["normalisation"] != "per-corpus":
            return self.model
        statistics = Statistics.of_corpora([(store, np.arange(len(store)))])
        return replace(self.model, framer=replace(self.model.framer, statistics=statistics))

    def check_features(self, store: FeatureStore) -> None:
        """Raise an EvaluationError unless a store has the features that the model was trained on."""
        features = self.model.features
        if store.snapshot.feature_parameters == features.parameters():
            return
        problem = f"its features are {store.snapshot.feature_set}, the model of {self.path} needs {features.name}"
        action = PrepareCorpus(
            store.snapshot.corpus, store.path.parent.parent, features.name, **asdict(store.snapshot.provenance)
        )
        remedy = Remedy("prepare the corpus with the model's feature set", action)
        raise EvaluationError(problem, where=store.path, remedy=remedy)
