"""What stands in for the trainer child in virtual time. Knows no torch."""
