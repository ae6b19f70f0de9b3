"""`muster doctor`: what a node needs of its machine, looked at one after another, a line each."""
