"""Open Inference Protocol v2: tensors, requests and answers as bytes. Knows no server."""
