"""What a demo shows: on the terminal while it runs and at its end, and on a page. Starts nothing."""
