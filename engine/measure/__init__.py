"""What is measured on an ONNX artifact."""
