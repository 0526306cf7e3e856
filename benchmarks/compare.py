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

STEADY = {
    "TQDM_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    # glibc gives large blocks back to the system and takes them anew, or keeps them, by what
    # happened before. In one process a side pays for that and in the next the other: so all keep.
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
"""The environment of all timings; the last two are read as a process starts."""

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


def start() -> None:
    """Start the script again in a steady environment, unless it is; print the table's head."""
    if not STEADY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **STEADY})
    print("| comparison | ours | theirs | ratio, median of rounds | range | target |")
    print("|---|---|---|---|---|---|", flush=True)


def row(name: str, ours: list[float], theirs: list[float], target: float | None = None) -> None:
    """Print one line of the table; seconds are medians."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"| {name} | {statistics.median(ours):.3f} s | {statistics.median(theirs):.3f} s "
        f"| {ratio:.3f} | {min(ratios):.2f}–{max(ratios):.2f} | {verdict(ratio, target)} |",
        flush=True,
    )


def verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return "none"
    return f"at most {target:.2f}: {'met' if ratio <= target else 'MISSED'}"
