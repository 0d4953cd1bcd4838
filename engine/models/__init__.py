"""Networks: the built-in zoo and what users bring."""
