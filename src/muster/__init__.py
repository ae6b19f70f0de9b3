"""Muster: small devices re-train one model together over networks that come and go."""

__version__ = "0.1.0"
