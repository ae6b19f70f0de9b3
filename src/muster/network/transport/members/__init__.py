"""Where members of the fleet can be dialled now, passed on between neighbours: hints, never proofs."""
