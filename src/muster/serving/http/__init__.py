"""The routes of the serving process, with limits and access rules."""
