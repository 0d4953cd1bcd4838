"""Questions about one trial, or a few beside each other."""
