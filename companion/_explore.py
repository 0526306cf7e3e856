"""The controls of an explorer: their values in order, as readers read them, and the first one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from companion._checks import check_count


@dataclass(frozen=True)
class Control:
    """One slider.

    Attributes:
        label: What stands beside it.
        values: What the drawing function gets, numbers in increasing order.
        shown: The same as readers see it, no two alike.
        start: Position of the value that is shown first.
    """

    label: str
    values: list[Any]
    shown: list[str]
    start: int


def make_control(
    name: str, given: Any, labels: Mapping[str, str], start: Mapping[str, Any]
) -> Control:
    """Make a control from what the caller gave as its values: any iterable with an order.

    Label and first value are looked up by the control's name; without them the name is the label,
    and the first value given is shown first.
    """
    values = _listed(name, given)
    first = start.get(name, values[0])
    if all(map(_is_number, values)):
        values = sorted(values, key=_plain)
    shown = _shown(name, values)
    return Control(str(labels.get(name, name)), values, shown, _place(name, values, shown, first))


def _listed(name: str, given: Any) -> list[Any]:
    """Return the values as a list."""
    axes = getattr(given, "ndim", None)
    # A text is one value, and a set has no order.
    one = isinstance(given, str | bytes | set | frozenset) or axes not in (None, 1)
    if one or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a sequence of values such as [0.1, 1], got {given!r}")
    # Python's own numbers for those of an array: a dictionary finds them.
    values = list(given if axes is None else given.tolist())  # type: ignore[attr-defined]
    check_count(len(values), f"number of values of {name}")
    return values


def _plain(value: Any) -> Any:
    """Return Python's own number for a tensor or array that holds one."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _is_number(value: Any) -> bool:
    """Tell whether a value is a real number; True and False are words here."""
    plain = _plain(value)
    return isinstance(plain, Real) and not isinstance(plain, bool)


def _shown(name: str, values: list[Any]) -> list[str]:
    """Return the values as readers see them, with as many digits as tell them apart."""
    for digits in range(6, 18):
        texts = [_text(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    numbers = Counter(_plain(value) for value in values if _is_number(value))
    for counts in (Counter(texts), numbers):
        again, times = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if times > 1:
            raise ValueError(f"{name} must hold each value once, got {_text(again)} {times} times")
    return texts


def _text(value: Any, digits: int = 6) -> str:
    """Return a value as its reader sees it: 0.5 for ``tensor(0.5000)``."""
    value = _plain(value)
    if not _is_number(value):
        return str(value)
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            value = int(value)
        else:  # the shortest text that is this float and no other, where 16 digits do not do
            value = (f"{value:.{digits}g}" if digits < 17 else repr(value)).replace("inf", "∞")
    return str(value).replace("-", "−")


def _place(name: str, values: list[Any], shown: list[str], first: Any) -> int:
    """Return where the value that is shown first stands: an equal number, or what reads alike."""
    numbers = enumerate(values) if _is_number(first) else ()
    equal = [i for i, v in numbers if _is_number(v) and _plain(v) == _plain(first)]
    alike = [i for i, text in enumerate(shown) if text == _text(first)]
    for i in equal + alike:
        return i
    raise ValueError(f"start of {name} must be one of its values {', '.join(shown)}, got {first!r}")
