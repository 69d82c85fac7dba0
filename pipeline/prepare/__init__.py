"""Prepare a corpus: scan its files, extract features and commit the store."""

from emodna.pipeline.prepare.preparation import PrepareCallback, PrepareReport, prepare

__all__ = ["PrepareCallback", "PrepareReport", "prepare"]
