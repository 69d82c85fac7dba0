"""What a careful researcher looks at before training: figures of a store, and what in it looks wrong."""

from emodna.pipeline.inspect.report import statistics

__all__ = ["statistics"]
