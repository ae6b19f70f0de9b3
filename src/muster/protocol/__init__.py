"""Every record type that nodes exchange, its encoding and its limits. Knows nothing else of Muster."""
