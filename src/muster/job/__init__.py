"""The life of a job on one node. Knows no sockets and no torch."""
