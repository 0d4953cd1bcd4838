"""Devices and cost: recipes on chips that are not at hand, what that costs, and how far to trust it."""
