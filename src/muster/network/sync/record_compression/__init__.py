"""Records as they cross a link: what both ends hold already is not sent again.

Knows records and a store; knows no link and no neighbour.
"""
