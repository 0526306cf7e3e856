"""The companion package of *The Lower Bound*, a book on variational autoencoders.

One vocabulary serves every model in the book. A *conditional* is a module whose forward returns
a ``torch.distributions`` object. A model's pass of inference returns a `models.Trace`. Every
objective and every diagnostic is a plain function of that trace.

Import the modules by name, for instance ``from companion import data, models, objectives``.
Importing the package itself changes nothing and loads neither matplotlib nor ipywidgets.
"""
