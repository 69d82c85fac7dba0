"""Experiments of plain files, and the output of emodna-bench on them."""
