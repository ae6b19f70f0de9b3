"""Whether a record's fields are within their limits: checked before a record is kept or passed on.

Knows the record types and nothing else; what a record must have in common with others is in
`history/succession.py` and `network/sync/admission.py`.
"""
