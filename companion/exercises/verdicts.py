"""How a verdict is said: one line that starts with ✓, ✗ or ○."""

import sys
from typing import Final

NOT_ATTEMPTED: Final = "○ Not attempted yet."
CORRECT: Final = "✓ Correct."


def say(text: str) -> None:
    """Print a text, on consoles too that lack some of its signs."""
    try:
        print(text)
    except UnicodeEncodeError:
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        plain = text.translate({ord("✓"): "OK", ord("✗"): "x", ord("○"): "o", ord("−"): "-"})
        print(plain.encode(encoding, "replace").decode(encoding))


def short(value: object) -> str:
    """Return the first line of an error's message or an answer, short enough to read."""
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return (text.strip().splitlines() or ["(no message)"])[0][:160]
