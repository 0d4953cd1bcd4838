"""The parts of engine/compress/quantize.py and qat.py."""
