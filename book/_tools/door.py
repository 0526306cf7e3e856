"""Stop at the door where the book cannot run, with one line that says what to do.

`make` asks this before it installs anything, of whatever Python it is given: so nothing here is
newer than Python 3.0.
"""

import platform
import sys


def refusal(version, system, machine):  # type: ignore[no-untyped-def]
    """Return why the book cannot run there, and what to do about it; nothing if it can."""
    if system == "Windows":
        return "On Windows run make inside WSL: https://learn.microsoft.com/windows/wsl"
    if tuple(version[:2]) < (3, 11):
        found = ".".join(map(str, version[:2]))
        return "Python 3.11 or newer is needed, not %s: make PYTHON=/path/to/python3.11" % found  # noqa: UP031
    if (system, machine) == ("Darwin", "x86_64"):
        return (
            "PyTorch has had no builds for Intel Macs since 2.3: take another machine or Colab. "
            "On a Mac with Apple silicon take a native Python: make PYTHON=/path/to/python3"
        )
    return ""


if __name__ == "__main__":
    sys.exit(refusal(sys.version_info, platform.system(), platform.machine()) or 0)
