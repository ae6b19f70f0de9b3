"""The names of codecs: a plain name, or a name and a density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from muster.compression.codec import parse_density


class PlainName:
    """A codec without parameters, called `NAME`."""

    NAME: ClassVar[str]

    @property
    def name(self) -> str:
        return self.NAME

    @classmethod
    def parse(cls, name: str) -> Self | None:
        return cls() if name == cls.NAME else None

    @classmethod
    def form(cls) -> str:
        return cls.NAME

    @classmethod
    def examples(cls) -> tuple[str, ...]:
        return (cls.NAME,)


@dataclass(frozen=True)
class NameWithDensity:
    """A sparse codec, called "NAME:DENSITY"; `density` is in (0, DENSITY_MAX]."""

    density: float

    NAME: ClassVar[str]
    DENSITIES: ClassVar[tuple[float, ...]] = (0.01,)  # of its examples

    @property
    def name(self) -> str:
        return f"{self.NAME}:{float(self.density)!r}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        kind, _, density = name.partition(":")
        return cls(parse_density(density, name)) if kind == cls.NAME else None

    @classmethod
    def form(cls) -> str:
        return f"{cls.NAME}:DENSITY"

    @classmethod
    def examples(cls) -> tuple[str, ...]:
        return tuple(f"{cls.NAME}:{density}" for density in cls.DENSITIES)
