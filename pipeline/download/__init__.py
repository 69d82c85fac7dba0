"""Download published corpora."""

from emodna.pipeline.download.corpora import Download, fetch

__all__ = ["Download", "fetch"]
