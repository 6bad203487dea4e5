"""Export of a network to one ONNX file, in float32 or 8 bits."""
