"""Pure functions from measured resources to a plan. Knows no sockets, no torch, no clock."""
