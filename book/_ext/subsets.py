"""Fonts cut down to the characters in use, small enough to stand inside a style sheet."""

import base64
import io
from collections.abc import Collection
from pathlib import Path

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]


def inline(font: Path, characters: Collection[int]) -> str:
    """A font with these characters alone, as an address that holds it all; with all, if none."""
    with TTFont(font, recalcTimestamp=False) as file:
        if characters:
            options = Options(
                drop_tables=["FFTM", "GDEF"], layout_features=[], hinting=False, name_IDs=[]
            )
            kept = Subsetter(options)
            kept.populate(unicodes=characters)
            kept.subset(file)
        file.flavor = "woff"
        made = io.BytesIO()
        file.save(made)
    return f"data:font/woff;base64,{base64.b64encode(made.getvalue()).decode()}"
