"""Run a chapter again when the package behind it has changed, not only when the chapter has.

jupyter-cache knows an executed notebook by the notebook's code alone. The folder it works in
therefore carries a hash of everything else that decides the outputs: the package and the versions
of what it stands on. The scripts of figures are no part of a chapter's outputs, which hold data.
"""

import functools
import hashlib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


@functools.cache
def package_hash(root: Path) -> str:
    """The hash of ``companion/`` and the lock file below ``root``, taken once in a build."""
    digest = hashlib.sha256()
    source = [p for p in root.glob("companion/**/*") if p.suffix in (".py", ".safetensors")]
    for path in [*sorted(source), root / "requirements.lock"]:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder(root: Path) -> Path:
    """Where the executed chapters of this state of the package are kept."""
    return root / "_build" / ".jupyter_cache" / package_hash(root)


def set_cache_folder(app: Sphinx, config: Config) -> None:
    """Tell MyST-NB the folder; a new one makes Sphinx read every page again."""
    config.nb_execution_cache_path = str(cache_folder(Path(app.srcdir)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler."""
    app.connect("config-inited", set_cache_folder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
