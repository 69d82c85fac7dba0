"""Floor 2: reads feature stores, trains, evaluates, predicts."""
