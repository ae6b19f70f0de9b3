"""What shows a node's state or takes orders: control socket, client, snapshot, streams.

Knows no tensors and nothing of the network's messages.
"""
