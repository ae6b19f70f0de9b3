"""Bulk between neighbours: blobs pulled in chunks. Does not know records, jobs or models."""
