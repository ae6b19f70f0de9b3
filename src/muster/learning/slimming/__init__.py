"""Smaller models of a torch module: its groups of channels, found by trying, and the module itself."""
