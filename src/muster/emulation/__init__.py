"""Scenarios, and real node processes on an emulated network of this machine. Knows no tensors."""
