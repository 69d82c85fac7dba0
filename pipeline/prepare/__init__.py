"""Prepare a corpus: scan its files, extract features, commit the store."""

from emodna.pipeline.prepare.run import PrepareReport, PrepareCallback, prepare

__all__ = ["PrepareReport", "PrepareCallback", "prepare"]
