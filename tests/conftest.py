"""What every test stands on: shapes checked as the package runs, and one thread."""

import torch
from jaxtyping import install_import_hook

# Before the package is imported for the first time, by a test or by pytest's doctests.
install_import_hook("companion", "typecheck.check")

torch.set_num_threads(1)
