"""Overview: what this is, the sweeps there are, and where to begin."""
