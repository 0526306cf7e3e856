"""Execute the chapters and build the site: ``make book``.

The chapters run two at a time into the cache that Sphinx then reads. A cell that fails or a
warning of the build fails the command, each time it is called.
"""

import contextlib
import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nbformat
from jupyter_book.cli.main import build as jupyter_book_build  # type: ignore[import-untyped]
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import (  # type: ignore[import-untyped]
    is_myst_markdown_notebook,
    read_myst_markdown_notebook,
)
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import toc_pages  # noqa: E402
from execution_cache import cache_folder  # noqa: E402

CELL_TIMEOUT = 600  # seconds
PROCESSES = 2
KEPT_CACHES = 5


def main() -> int:
    """Build the book of this repository, one build at a time."""
    start = time.perf_counter()
    build = ROOT / "_build"
    build.mkdir(exist_ok=True)
    # Explorers as blocks that need no kernel, no progress bars, and no debugger's warning.
    os.environ |= {
        "COMPANION_EXPLORE": "page",
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    failure = execute_chapters() or build_site()
    if failure:
        # Sphinx warns only of pages it reads, so a page with a warning must be read again.
        shutil.rmtree(build / ".doctrees", ignore_errors=True)
        print(f"\nThe book was not built: {failure}", file=sys.stderr)
        return 1
    site = build / "html"
    seconds = time.perf_counter() - start
    print(f"\nBuilt {len(toc_pages(ROOT))} pages in {seconds:.0f} s: {site / 'index.html'}")
    return 0


def execute_chapters() -> str:
    """Execute the chapters that the cache does not know; return what failed, or nothing."""
    folder = cache_folder(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    by_age = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[KEPT_CACHES:]:
        shutil.rmtree(old)

    cache = get_cache(folder)
    todo = []
    for chapter, notebook in notebooks():
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            todo.append((chapter, notebook))
    if not todo:
        return ""

    failed = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for job in as_completed([pool.submit(execute, *item) for item in todo]):
            chapter, notebook, seconds, problem = job.result()
            print(f"{'FAILED' if problem else 'ran'} {chapter.name} in {seconds:.0f} s", flush=True)
            if problem:
                print(problem, file=sys.stderr)
                failed.append(chapter.name)
            else:
                bundle = CacheBundleIn(notebook, str(chapter), data={"execution_seconds": seconds})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return f"{', '.join(failed)} failed" if failed else ""


def notebooks() -> Iterator[tuple[Path, nbformat.NotebookNode]]:
    """Each page with code, and its notebook."""
    for page in toc_pages(ROOT):
        chapter, text = ROOT / f"{page}.ipynb", ROOT / f"{page}.md"
        if chapter.is_file():
            yield chapter, nbformat.read(chapter, nbformat.NO_CONVERT)
        elif text.is_file() and is_myst_markdown_notebook(text.read_text("utf-8")):
            yield text, read_myst_markdown_notebook(text.read_text("utf-8"), path=text)


def execute(
    chapter: Path, notebook: nbformat.NotebookNode
) -> tuple[Path, nbformat.NotebookNode, float, str | None]:
    """Run one chapter in a fresh kernel, in its own folder."""
    result = single_nb_execution(
        notebook,
        cwd=str(chapter.parent),
        timeout=CELL_TIMEOUT,
        allow_errors=False,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )
    return chapter, notebook, result.time, result.exc_string


def build_site() -> str:
    """Make the pages; return what failed, or nothing."""
    site = ROOT / "_build" / "html"
    command = [str(ROOT), "-W", "--keep-going", "-q"]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its own report of where the pages are
            jupyter_book_build.main(command, standalone_mode=False)
    except (RuntimeError, SystemExit) as error:
        return str(error) or "jupyter-book failed"
    # jupyter-book is content with pages that are not there.
    missing = [page for page in toc_pages(ROOT) if not (site / f"{page}.html").is_file()]
    return f"no page for {', '.join(missing)}" if missing else ""


if __name__ == "__main__":
    sys.exit(main())
