"""How a node's samples become a few weighted ones: some at random, the nearest to centres, or the centres."""
