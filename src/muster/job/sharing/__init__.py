"""Samples of nodes' data that stand in for them in a job: who has them, for how long, and what they weigh."""
