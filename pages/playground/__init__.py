"""Playground: one image through the baseline and a few recipes, run here and now."""
