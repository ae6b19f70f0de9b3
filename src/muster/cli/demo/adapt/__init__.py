"""`muster demo --story adapt`: models in use on eight nodes, some of which the world changes under."""
