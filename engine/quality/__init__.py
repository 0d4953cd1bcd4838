"""Predictions -> accuracy and what it hides; the statistics behind both."""
