"""Imports its neighbour by its plain name, by the way also inside functions."""

from torch import nn

from muster import Task


class SiblingImport(Task):
    name = "sibling_import"

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        from clouds import clouds

        return clouds(self.part)

    def evaluation_data(self):
        import clouds

        return clouds.clouds(99)
