"""The parts of pages that are made from the code; `scripts/docs.py` puts them into place."""
