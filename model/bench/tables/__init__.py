"""The paper's tables, and others of the same kind."""
