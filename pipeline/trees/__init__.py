"""Roots: where a corpus's files lie."""

from emodna.pipeline.trees.base import Stamp, Tree
from emodna.pipeline.trees.folder import FolderTree

__all__ = ["FolderTree", "Stamp", "Tree"]
