"""Whether a deployed model still fits its surroundings, and which one is to be used: pure functions."""
