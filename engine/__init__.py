"""Paretoscope's engine: compresses networks, measures every variant, finds the frontier."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.32 reports to its maker from its import on, unless the environment says otherwise by then.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
