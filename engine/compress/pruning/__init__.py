"""The parts of engine/compress/prune.py."""
