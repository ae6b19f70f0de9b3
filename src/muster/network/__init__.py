"""What nodes say to each other, between direct neighbours. Knows no models and no jobs."""
