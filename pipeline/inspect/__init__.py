"""Figures of a store that a careful researcher looks at before training, and the difference of two stores."""
