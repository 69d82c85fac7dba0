"""Ablations of Emo-DNA: V1 to V5 of the paper's Table 4."""

from dataclasses import fields

from emodna.model.errors import ConfigError
from emodna.model.methods.base import DataSummary, ResolvedConfig
from emodna.model.methods.emo_dna import EmoDna, EmoDnaConfig
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import Remedy

_REFERENCE = "Ye et al. 2023, arXiv 2308.02190, Table 4"


class _Ablation(EmoDna):
    """Emo-DNA with some weights fixed at 0."""

    @classmethod
    def resolve_config(cls, config: EmoDnaConfig, data: DataSummary) -> ResolvedConfig:
        for name in (field.name for field in fields(EmoDnaConfig) if field.name.endswith("_weight")):
            if (value := getattr(config, name)) and not getattr(cls.defaults, name):
                remedy = Remedy("choose {method=emo-dna}")
                raise ConfigError(f"{cls.name} is Emo-DNA without this term", field=name, value=value, remedy=remedy)
        return super().resolve_config(config, data)


class V1(SourceOnly):
    """Emotion loss only."""

    name = "v1"
    summary = "ablation of Emo-DNA: L_emotion alone (as source-only)"
    reference = _REFERENCE


class V2(_Ablation):
    """Emotion and corpus loss, without decoupling loss and alignment. The target enters corpus loss and batch norm."""

    name = "v2"
    summary = "ablation of Emo-DNA: L_emotion and L_corpus"
    reference = _REFERENCE
    defaults = EmoDnaConfig(decouple_weight=0, mmd_weight=0, scl_weight=0)


class V3(_Ablation):
    """Emo-DNA without decoupling loss: V4 in the paper's text, V3 in its tables."""

    name = "v3"
    summary = "ablation of Emo-DNA: without L_decouple"
    reference = _REFERENCE
    defaults = EmoDnaConfig(decouple_weight=0)


class V4(_Ablation):
    """Emo-DNA without MK-MMD and L_SCL: V3 in the paper's text, V4 in its tables."""

    name = "v4"
    summary = "ablation of Emo-DNA: without d_k^2 and L_SCL"
    reference = _REFERENCE
    defaults = EmoDnaConfig(mmd_weight=0, scl_weight=0)


class V5(_Ablation):
    """Emo-DNA without decoupling module and corpus encoder: DAN with L_SCL."""

    name = "v5"
    summary = "ablation of Emo-DNA: without the decoupling module (as dan + scl)"
    reference = _REFERENCE
    defaults = EmoDnaConfig(corpus_weight=0, decouple_weight=0)
