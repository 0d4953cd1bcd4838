"""Explore: one sweep's frontier, limits, and the recipe behind every point."""
