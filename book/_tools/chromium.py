"""Give the browser tests a Chromium: Debian's where it can be had, else Playwright's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def is_debian() -> bool:
    """Whether this is Debian itself (Ubuntu's ``chromium`` is a stub that fetches a snap)."""
    release = Path("/etc/os-release")
    return release.is_file() and "ID=debian" in release.read_text("utf-8").splitlines()


def main() -> None:
    """Install a browser unless one is there."""
    if shutil.which("chromium"):
        return
    print("Installing Chromium for the browser tests ...")
    if is_debian() and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        packages = ["chromium", "fonts-dejavu-core"]
        for command in (["apt-get", "update", "-qq"], [*install, *packages]):
            subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    main()
