"""The feature store on disk: its layout, its write side and its read side."""

from emodna.pipeline.store.reader import FeatureStore

__all__ = ["FeatureStore"]
