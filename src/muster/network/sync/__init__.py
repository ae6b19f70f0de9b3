"""Records between neighbours: what each holds, what changed, presence.

Knows no blobs, jobs or models.
"""
