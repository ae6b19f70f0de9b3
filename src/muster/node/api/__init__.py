"""What shows a node's state or takes orders: client, snapshot, rows for the page, commits, job requests.

Knows no tensors and nothing of the network's messages.
"""
