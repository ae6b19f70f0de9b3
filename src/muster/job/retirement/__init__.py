"""What a node keeps of jobs that left memory, and records that it set aside. Knows no sockets, no torch."""
