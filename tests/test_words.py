"""The code speaks the field's language: none of the private words that stood for its terms come back."""

from __future__ import annotations

import re
from pathlib import Path

import muster

ROOT = Path(muster.__file__).parent
# As whole words, also as parts of identifiers.
PRIVATE = {
    "word", "words", "way", "ways", "trip", "trips", "told", "spare", "spared", "pen", "door", "desk",
    "board", "roll", "race", "hurry", "hurries", "hurried", "mouth", "beat", "beats", "expendable",
    "shorthand", "punctuality", "valuing", "anew", "plainly", "stranger", "strangers", "withheld",
    "rehearse", "rehearsal", "rehearsed",
}  # fmt: skip
PHRASES = re.compile(r"\b(hold|holds|held|holding)[ _]back\b", re.IGNORECASE)
ALLOWED = re.compile(r"\bround[- _]trips?\b|TensorBoard", re.IGNORECASE)  # terms and names of others
PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SUFFIXES = {".py", ".ts", ".tsx", ".html", ".toml"}


def found_in(path: Path) -> list[str]:
    """`file:line: word` for each private word in a file."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        pieces = {piece.lower() for piece in PIECES.findall(ALLOWED.sub("", line))}
        private = [*sorted(PRIVATE & pieces), *(match[0] for match in PHRASES.finditer(line))]
        found += [f"{path.relative_to(ROOT)}:{number}: {word}" for word in private]
    return found


def test_no_private_words() -> None:
    skipped = {"node_modules", "page", "__pycache__"}
    files = [p for p in ROOT.rglob("*") if p.suffix in SUFFIXES and not skipped & set(p.parts)]
    assert len(files) > 200
    assert [hit for path in files for hit in found_in(path)] == []
