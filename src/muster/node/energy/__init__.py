"""What this machine draws: meters where it has any, else a model of its watts and of its radio."""
