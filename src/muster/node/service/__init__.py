"""A node as a service of systemd: the unit, its installation, and what the daemon tells systemd."""
