"""Data, from where people keep it: splits, preprocessing, checksums."""
