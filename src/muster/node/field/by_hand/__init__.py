"""What people ask of the models in use: `muster use`, `muster adapt`."""
