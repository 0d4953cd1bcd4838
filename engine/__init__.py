"""Paretoscope's engine: compresses networks, measures every variant, finds the frontier."""

__version__ = "0.1.0"
