"""What was measured of a recipe, and how its numbers read."""
