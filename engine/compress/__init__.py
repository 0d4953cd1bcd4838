"""The method families; each turns one artifact into another."""
