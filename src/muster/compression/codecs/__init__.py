"""The update codecs: dense, quantised, sparse, ternary. Know numpy and nothing else."""
