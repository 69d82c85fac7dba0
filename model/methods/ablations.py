"""Emo-DNA without some of its parts: V1 to V5 of the paper's Table 4."""

from dataclasses import fields

from emodna.model.errors import ConfigError
from emodna.model.methods.base import DataSummary, ResolvedConfig
from emodna.model.methods.emo_dna import EmoDna, EmoDnaConfig
from emodna.model.methods.source_only import SourceOnly

_REFERENCE = "Ye et al. 2023, arXiv 2308.02190, Table 4"


class _Ablation(EmoDna):
    """Emo-DNA with some weights at 0, where they stay: with another value it would not be what its name says."""

    @classmethod
    def resolve_config(cls, config: EmoDnaConfig, facts: DataSummary) -> ResolvedConfig:
        """Refuse a part that the ablation is without, with a `ConfigError`."""
        for field in fields(EmoDnaConfig):
            if field.name.endswith("_weight") and getattr(config, field.name) and not getattr(cls.defaults, field.name):
                raise ConfigError(f"--set {field.name}: {cls.name} is Emo-DNA without it; --method emo-dna has it")
        return super().resolve_config(config, facts)


class V1(SourceOnly):
    """Nothing but the emotion loss."""

    name = "v1"
    summary = "ablation of Emo-DNA: L_emotion alone (as source-only)"
    reference = _REFERENCE


class V2(_Ablation):
    """Neither decoupling loss nor alignment: the target is seen by the corpus loss and batch norm."""

    name = "v2"
    summary = "ablation of Emo-DNA: L_emotion and L_corpus"
    reference = _REFERENCE
    defaults = EmoDnaConfig(decouple_weight=0, mmd_weight=0, scl_weight=0)


class V3(_Ablation):
    """No decoupling loss: V4 in the paper's text, V3 in its tables."""

    name = "v3"
    summary = "ablation of Emo-DNA: without L_decouple"
    reference = _REFERENCE
    defaults = EmoDnaConfig(decouple_weight=0)


class V4(_Ablation):
    """No alignment, neither MK-MMD nor L_SCL: V3 in the paper's text, V4 in its tables."""

    name = "v4"
    summary = "ablation of Emo-DNA: without d_k^2 and L_SCL"
    reference = _REFERENCE
    defaults = EmoDnaConfig(mmd_weight=0, scl_weight=0)


class V5(_Ablation):
    """No decoupling module at all, so no corpus encoder: DAN with L_SCL."""

    name = "v5"
    summary = "ablation of Emo-DNA: without the decoupling module (as dan --add scl)"
    reference = _REFERENCE
    defaults = EmoDnaConfig(corpus_weight=0, decouple_weight=0)
