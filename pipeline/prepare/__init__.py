"""Prepare a corpus: scan its files, extract features, commit the store."""

from emodna.pipeline.prepare.run import Report, Watcher, prepare

__all__ = ["Report", "Watcher", "prepare"]
