"""What is wrong with a coreset's bytes, or with a coreset that is to become bytes."""


class CoresetError(ValueError):
    """These bytes are no coreset for this space, or this coreset cannot be written: a sentence."""
