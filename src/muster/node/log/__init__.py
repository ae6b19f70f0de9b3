"""How a node's events reach whoever runs it: as text, JSON lines or in the journal; levels and a limit."""
