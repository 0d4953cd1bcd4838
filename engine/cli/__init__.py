"""The command line: one file for each command or noun, `front.py` is `paretoscope front`."""
