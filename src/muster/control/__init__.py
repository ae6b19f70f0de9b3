"""JSON lines over a Unix socket: one server and one client, for a node's daemon and for an emulation.

Knows neither of them, and no tensors.
"""
