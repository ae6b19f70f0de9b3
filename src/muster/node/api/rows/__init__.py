"""A node's state as tables of rows that change: their schema, who builds them, and the stream of differences.

Knows the node's core and reads it; nothing in the core knows of it.
"""
