"""The daemon: a thin shell that wires the parts together, and its configuration."""
