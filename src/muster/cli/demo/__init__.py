"""`muster demo`: an emulated fleet, one job on it, a view and a report."""
