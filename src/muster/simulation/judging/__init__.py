"""Runs a seed's schedule and judges it by invariants. Knows no sockets."""
