"""How emulated frames travel: the model of a link and the processes that carry frames.

Knows no tensors.
"""
