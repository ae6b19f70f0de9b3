"""The networks that this machine is on: interfaces that come and go, and the members that are heard there."""
