"""The page: state of one node (and of an emulation) as tables of rows, and its server. Knows no tensors."""
