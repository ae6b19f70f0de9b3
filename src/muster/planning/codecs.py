"""Which codec a round uses; `auto` is resolved here from the recipe and what was measured."""

from __future__ import annotations

from muster.records import Recipe

DENSE = "dense32"
AUTO = "quant8"  # a quarter of the bytes; with error feedback nothing is lost in the long run


def up_codec(recipe: Recipe) -> str:
    return AUTO if recipe.codec == "auto" else recipe.codec


def down_codec(recipe: Recipe) -> str | None:
    """None: commits are sent as whole models."""
    name = AUTO if recipe.down_codec == "auto" else recipe.down_codec
    return None if name == DENSE else name
