"""Bulk between neighbours: blobs pulled in chunks, hop by hop. Knows no records, jobs or models.

Each neighbour has one window of outstanding chunks, so a slow one never holds up a fast one; each blob has
one transfer, whoever wants it.  A transfer pulls from every neighbour that has the whole blob; while nobody
in reach has, from one neighbour at a time that fetches it for us and hands chunks on as they arrive: so a
blob crosses a narrow link once however many want it behind.  A source that has nothing (more) rests for a
growing while; news (`poke`, a neighbour that appears, a nudge) ends the rest, so nothing is polled busily.

What is held is never asked for again, except what was asked for when a link or the process went.
"""
