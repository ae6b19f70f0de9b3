"""Who may take part and who made a record: fleets, certificates, signatures.

Knows no engine and no socket.
"""
