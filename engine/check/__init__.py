"""Model and data held against each other on a few samples, before anything runs; the preprocessing that was left out is found."""
