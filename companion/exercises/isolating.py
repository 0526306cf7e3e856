"""Runs code of the reader's where nothing it does can spoil a check, or the notebook.

Random generators, gradient mode, default dtype and device, numpy's settings and the filters of
warnings are as a check needs them inside, and as they were after. What is printed is kept, and
code that does not end is stopped.
"""

import contextlib
import io
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from companion._context import preserved

PRINTED: Final = 1000
"""Characters of what an answer prints that are shown."""


class OutOfTimeError(BaseException):
    """An answer ran for longer than `TIME_LIMIT`; no `except Exception` of its own stops this."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Seed and settle everything that a call may depend on, and put it back after."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(preserved())
        stack.enter_context(torch.inference_mode(False))  # which records gradients too
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        # Constants that an answer makes then have the dtype of its inputs.
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (the reader's code may use it)
        random.seed(0)
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in the body after this time, where the platform has an alarm.

    Time is that of the processor, so that a busy machine stops nobody; what waits, for input say,
    is stopped after three times as long.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "SIGALRM")):
        yield
        return

    clock, work = time.monotonic(), time.process_time()

    def stop(*_: object) -> None:
        if time.process_time() - work > seconds or time.monotonic() - clock > 3 * seconds:
            raise OutOfTimeError

    handler = signal.signal(signal.SIGALRM, stop)
    # Again and again: an answer may catch the first.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, interval)
        signal.signal(signal.SIGALRM, handler)


class Start(io.TextIOBase):
    """Keeps the start of what is printed, and its number of lines."""

    def __init__(self) -> None:
        self.kept, self.lines = "", 0

    def write(self, text: str) -> int:
        """Take what is printed."""
        self.kept += text[: PRINTED + 1 - len(self.kept)]
        self.lines += text.count("\n")
        return len(text)

    def text(self) -> str:
        """Return the start of what was printed, and how much more there was."""
        kept = self.kept.rstrip("\n")
        if len(kept) <= PRINTED:
            return kept
        return f"{kept[:PRINTED]}\n… ({self.lines} lines in all)"
