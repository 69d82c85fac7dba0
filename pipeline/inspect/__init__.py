"""Statistics, anomalies and duplicates of a feature store, and the differences between two stores."""
