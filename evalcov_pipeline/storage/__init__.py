"""How things are kept: files, lake, warehouse, vectors, hash chains, the published copy.

Whatever is written appears whole or not at all. Nothing here knows a domain, but the lake the form
of a turn.
"""
