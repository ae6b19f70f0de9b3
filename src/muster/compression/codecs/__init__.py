"""One file for each kind of codec: dense, quantised, top-k, ternary. Knows numpy, no models or tensors."""
