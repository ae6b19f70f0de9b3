"""A coreset as bytes, and back: entropy-coded images and tables, WebP photos, labels, weights."""

from muster.coresets.coding.codec import decode, encode
from muster.coresets.coding.error import CoresetError

__all__ = ["CoresetError", "decode", "encode"]
