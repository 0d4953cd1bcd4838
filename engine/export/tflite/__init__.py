"""Full-int8 files for TensorFlow Lite and TFLite Micro, made of QDQ graphs in ONNX and held against them."""
