"""Time several ways of doing one thing, side by side.

The sides take turns in a fresh order each round, so that whatever else the machine does hits all
of them alike. Times are CPU seconds of one thread, and the ratio is the median over rounds.
"""

import os

os.environ["TQDM_DISABLE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

torch.set_num_threads(1)

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9
"""Rounds that count: nine, or what the command line says. One round before them warms up."""


def take_turns(
    sides: Mapping[str, Callable[[], Any]], agree: Callable[[dict[str, Any]], None]
) -> dict[str, list[float]]:
    """Return the CPU seconds of each side in each round.

    Each side is seeded alike. `agree` gets what they returned, by name, and raises unless all of
    them have computed the same.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for counted in [False] + [True] * ROUNDS:
        random.shuffle(order)
        results = {}
        for name in order:
            torch.manual_seed(1)
            begin = time.process_time()
            results[name] = sides[name]()
            if counted:
                seconds[name].append(time.process_time() - begin)
        agree(results)
    return seconds


def header() -> None:
    print("| comparison | ours | theirs | ratio, median of rounds | range | target |")
    print("|---|---|---|---|---|---|")


def row(name: str, ours: list[float], theirs: list[float], target: float | None = None) -> None:
    """Print one line of the table; seconds are medians."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"| {name} | {statistics.median(ours):.3f} s | {statistics.median(theirs):.3f} s "
        f"| {ratio:.2f} | {min(ratios):.2f}–{max(ratios):.2f} | {verdict(ratio, target)} |",
        flush=True,
    )


def verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return "none"
    return f"at most {target:.2f}: {'met' if ratio <= target else 'MISSED'}"
