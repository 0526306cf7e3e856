"""The tables at the end of *Check it* cells: two sides of an equation, or an outcome seed by seed.

In a kernel they print aligned text, which is kept with the chapter and compared in every test run;
in the page they are cards. A row gets its ✓ by the tolerance or the bound that the table states.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from companion._page import in_page

__all__ = ["Table", "compare", "over_seeds"]

RELATIONS: Final = {
    "=": "equal",
    "≤": "the left is at most the right",
    "≥": "the left is at least the right",
}


def compare(
    left: str,
    right: str,
    rows: Iterable[Sequence[Any]],
    *,
    relation: str = "=",
    tolerance: float = 0.0,
    allowed: str = "",
    digits: int = 6,
    title: str = "",
) -> "Table":
    """Compare two sides, row by row.

    Args:
        left: What the left side is.
        right: What the right side is.
        rows: A label and the values of both sides: numbers, or tensors of one element. With
            `allowed`, a fourth entry is this row's tolerance.
        relation: What holds between left and right: "=", "≤" or "≥".
        tolerance: How far the sides may be apart, or on the wrong side of one another.
        allowed: What the rows' own tolerances are, such as "3 standard errors".
        digits: Decimals of the values.
        title: What is compared; the two sides and their relation by default.

    Returns:
        A table that shows itself as the last expression of a cell, or with ``display``.

    >>> compare("1 + 1", "2", [("integers", 1 + 1, 2)], tolerance=1e-9, digits=1)
    1 + 1 = 2
              1 + 1    2  difference
    integers    2.0  2.0     < 1e-09  ✓
    ✓ equal, to within 1e-09
    """
    table = []
    for label, *values in rows:
        a, b, *own = map(_number, values)
        within = own[0] if allowed else tolerance
        off = {"=": abs(a - b), "≤": a - b, "≥": b - a}[relation]
        exact = relation == "=" and off <= within and 0 < within < 10**-digits
        apart = [f"< {within:g}" if exact else _text(a - b, digits)]
        limits = [_text(within, digits)] if allowed else []
        cells = [_text(a, digits), _text(b, digits), *apart, *limits]
        table.append((str(label), cells, off <= within))
    limit = f", to within {allowed or f'{tolerance:g}'}" if allowed or tolerance else ""
    columns = [left, right, "difference", *(["allowed"] if allowed else [])]
    heading = title or f"{left} {relation} {right}"
    return Table(heading, columns, table, f"✓ {RELATIONS[relation]}{limit}")


def over_seeds(
    title: str, rows: Iterable[tuple[str, Any, str, float]], *, unit: str = "nats", digits: int = 2
) -> "Table":
    """Count the seeds in which an outcome is as stated, and show how large it is.

    Args:
        title: What was measured.
        rows: What is looked at, its value for each seed, "<" or ">", and the bound.
        unit: Of the values.
        digits: Decimals of the values, which the page alone shows: another processor trains to
            slightly other numbers, and what is kept with the chapter must be the same there.

    Returns:
        A table that shows itself as the last expression of a cell, or with ``display``.

    >>> over_seeds("three runs", [("gain", [1.0, 2.0, 3.0], ">", 0.5)])
    three runs
          holds for  bound
    gain     3 of 3  > 0.5  ✓
    ✓ as stated for every seed
    """
    table, measured = [], []
    for label, given, sign, bound in rows:
        values = [_number(value) for value in given]
        good = sum(value > bound if sign == ">" else value < bound for value in values)
        cells = [f"{good} of {len(values)}", f"{sign} {bound:g}".replace("-", "−")]
        table.append((label, cells, good == len(values)))
        mean = sum(values) / len(values)
        spread = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5
        measured.append(f"{_text(mean, digits)} ± {_text(spread, digits)}")
    head = ["holds for", "bound"]
    effect = f"mean ± spread{f' ({unit})' if unit else ''}"
    return Table(title, head, table, "✓ as stated for every seed", (effect, measured))


@final
@dataclass(frozen=True)
class Table:
    """Rows that hold or do not. Make one with `compare` or `over_seeds`.

    Attributes:
        title: What is shown.
        columns: Heads of the values.
        rows: A label, the values as text, and whether the row holds.
        statement: What a ✓ says.
        measured: A further column, for the page alone: its head and its values.
    """

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str], bool]]
    statement: str
    measured: tuple[str, list[str]] = ("", [])

    def __repr__(self) -> str:
        """Return the table as aligned text."""
        lines = [["", *self.columns, ""]]
        lines += [[label, *values, "✓" if holds else "✗"] for label, values, holds in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            [line[0].ljust(widths[0])]
            + [text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True)]
            for line in lines
        ]
        return "\n".join(
            [self.title, *("  ".join(line).rstrip() for line in aligned), self.statement]
        )

    def to_html(self) -> str:
        """Return the card of the page."""
        name, measured = self.measured
        heads = ["case", *([name] if name else []), *self.columns, "holds"]
        head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
        body = ""
        for i, (label, values, holds) in enumerate(self.rows):
            cells = "".join(f"<td>{html.escape(v)}</td>" for v in [*measured[i : i + 1], *values])
            mark, said = ("✓", "yes") if holds else ("✗", "no")
            body += (
                f'<tr><th scope="row">{html.escape(label)}</th>{cells}<td>'
                f'<span aria-hidden="true">{mark}</span><span class="said">{said}</span></td></tr>'
            )
        return (
            f'<div class="check-card"><table><caption>{html.escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(self.statement)}</p></div>"
        )

    def _ipython_display_(self) -> None:
        """Show the card when the book is built, else print the text."""
        if in_page():
            from IPython.display import HTML, display

            display(HTML(self.to_html()))
        else:
            print(self, end="\n\n")


def _number(value: Any) -> float:
    """Return a number for itself or for a tensor that holds it, of which gradients may be asked."""
    return float(value.detach() if hasattr(value, "detach") else value)


def _text(value: float, digits: int) -> str:
    """Return a number with so many decimals and a true minus sign, which zero does not have."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
