"""Which trials to look at, and how sure that is."""
