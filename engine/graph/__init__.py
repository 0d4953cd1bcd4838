"""ONNX graphs: read, tidied, what they ask of a device."""
