"""Compare: two to six recipes of a sweep side by side."""
