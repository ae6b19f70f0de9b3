"""A trained model as the two ONNX files that a node serves: raw samples in, and what nodes are compared
by."""
