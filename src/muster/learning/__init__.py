"""Tasks and PyTorch: local training, evaluation, export, the tasks that come along.

Reads and writes a user's files; knows no network, store or clock.
"""
