"""For all tests: a property test is judged by its property, not by how busy the machine is."""

from hypothesis import settings

settings.register_profile("muster", deadline=None)
settings.load_profile("muster")
