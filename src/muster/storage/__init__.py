"""What a node keeps: blobs on disk, records and state in SQLite. Knows no network."""
