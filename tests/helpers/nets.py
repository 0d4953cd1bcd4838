"""Names of built-in networks by what they read."""

from engine.models.catalog import zoo_names

IMAGE_NETS = tuple(name for name in zoo_names() if name != "series_transformer")
