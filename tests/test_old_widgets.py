"""Explorers in a kernel with ipywidgets 7, which Colab has: the test takes the front end's part.

`make unit` installs that version beside the environment; only the kernel of these tests sees it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager
from traitlets.config import Config

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

ROOT = Path(__file__).resolve().parents[1]
OLD = "7.7.1"
FOLDER = ROOT / ".venv" / f"ipywidgets-{OLD}"
TIMEOUT = 120  # seconds; a kernel answers at once, but may start late on a busy machine

CODE = """
import ipywidgets
from companion.explore import explore
from matplotlib import pyplot

def draw(a):
    if a == 2:
        raise ValueError("no figure here")
    figure, ax = pyplot.subplots(figsize=(a, 1))
    return figure

print(ipywidgets.__version__, ipywidgets.__file__)
explore(draw, a=[1, 2, 3], start={"a": 3})
"""


class FrontEnd:
    """The state of each widget of a kernel, as far as its messages tell it."""

    def __init__(self, client: "BlockingKernelClient") -> None:
        self.client = client
        self.states: dict[str, dict[str, Any]] = {}
        self.printed = ""

    def run(self, code: str) -> None:
        self.listen(self.client.execute(code))

    def slide(self, slider: str, index: int) -> None:
        """Tell the kernel that a reader has moved a slider."""
        data = {"method": "update", "state": {"index": index}, "buffer_paths": []}
        moved = self.client.session.msg("comm_msg", {"comm_id": slider, "data": data})
        self.client.shell_channel.send(moved)
        self.listen(moved["header"]["msg_id"])

    def listen(self, request: str) -> None:
        """Take in what the kernel sends until it is done with a request."""
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            content = message["content"]
            match message["msg_type"]:
                case "error":
                    pytest.fail("\n".join(content["traceback"]))
                case "stream":
                    self.printed += content["text"]
                case "comm_open" | "comm_msg":
                    state = self.states.setdefault(content["comm_id"], {})
                    state.update(content["data"]["state"])
                case "status" if message["parent_header"].get("msg_id") == request:
                    if content["execution_state"] == "idle":
                        return

    def find(self, model: str) -> str:
        (found,) = [name for name, state in self.states.items() if state["_model_name"] == model]
        return found


@pytest.fixture
def front_end(tmp_path: Path) -> Iterator[FrontEnd]:
    if not FOLDER.is_dir():
        # CI has an index of packages.
        assert "CI" not in os.environ, f"no {FOLDER}: `make unit` should have made it"
        pytest.skip(f"ipywidgets {OLD} is not installed: `make unit` does it where pip finds it")
    environment = {
        **{key: value for key, value in os.environ.items() if key != "COMPANION_EXPLORE"},
        "PYTHONPATH": f"{FOLDER}{os.pathsep}{ROOT}",
        "IPYTHONDIR": str(tmp_path),
    }
    encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})
    manager = KernelManager(kernel_name="python3", config=encrypted)
    manager.start_kernel(env=environment)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT)
        yield FrontEnd(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_explorer_redraws(front_end: FrontEnd) -> None:
    front_end.run(CODE)
    assert front_end.printed == f"{OLD} {FOLDER / 'ipywidgets' / '__init__.py'}\n"
    slider, picture = front_end.find("SelectionSliderModel"), front_end.find("HTMLModel")
    states = front_end.states
    assert states[slider]["_options_labels"] == ["1", "2", "3"]
    assert states[slider]["index"] == 2, "start= is where it starts"
    shown = {3: states[picture]["value"]}

    front_end.slide(slider, 1)
    message = re.sub("<[^>]*>", " ", states[picture]["value"])
    for said in ("ValueError", "no figure here", "a = 2"):
        assert said in message
    assert "<img" not in states[picture]["value"]

    for index in (0, 2):
        front_end.slide(slider, index)
        shown.setdefault(index + 1, states[picture]["value"])
    assert states[picture]["value"] == shown[3]
    assert shown[1] != shown[3]
    for value in shown.values():
        assert "data:image/png;base64," in value
