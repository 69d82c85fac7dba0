"""The feature store on disk: its layout, and how to write and read it."""

from emodna.pipeline.store.reader import FeatureStore

__all__ = ["FeatureStore"]
