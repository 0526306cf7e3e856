"""The companion package of *The Lower Bound*, a book on variational autoencoders.

One vocabulary serves every model in the book. A *conditional* is a module whose forward returns
a ``torch.distributions`` object. A model's pass of inference returns a `Trace`. Every objective and
every diagnostic is a plain function of that trace.

The names that the chapters use most stand here; the rest is in the modules `data`, `diagnostics`,
`exact`, `diffusion`, `plots`, `explore` and `exercises`. Importing the package changes nothing and
loads neither matplotlib nor ipywidgets.
"""

from companion.autoregressive import AutoregressiveConditional
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
    per_row,
)
from companion.distributions import gaussian_kl
from companion.ensemble import Ensemble
from companion.models import HVAE, VAE, Autoencoder, LatentVariableModel, TopDownHVAE, Trace
from companion.objectives import (
    beta_elbo,
    elbo,
    elbo_analytic,
    free_bits_elbo,
    iwae_bound,
    log_marginal,
    log_reconstruction,
    pathwise,
    score_function,
)
from companion.train import fit, linear_warm_up, train_epoch
from companion.weights import load_weights, save_weights

BOOK = "The Lower Bound"
"""The package's own mark: a stranger's package has the same name."""

__all__ = [
    "BOOK",
    "HVAE",
    "VAE",
    "Autoencoder",
    "AutoregressiveConditional",
    "BernoulliConditional",
    "Ensemble",
    "GaussianConditional",
    "LatentVariableModel",
    "LinearGaussianConditional",
    "StandardNormal",
    "TopDownHVAE",
    "Trace",
    "beta_elbo",
    "elbo",
    "elbo_analytic",
    "fit",
    "free_bits_elbo",
    "gaussian_kl",
    "iwae_bound",
    "linear_warm_up",
    "load_weights",
    "log_marginal",
    "log_reconstruction",
    "mlp",
    "pathwise",
    "per_row",
    "save_weights",
    "score_function",
    "train_epoch",
]
