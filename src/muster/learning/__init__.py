"""Tasks and PyTorch: local training, evaluation, export. Knows no network, disk or clock."""
