"""The command `muster`: options, output, errors. Knows no tensors; it asks a node by its control socket."""
