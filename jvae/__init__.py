"""jvae: train, compare and understand variational autoencoders in JAX.

The root holds the model and what is done with it: bounds, encoders, decoders, priors, vae; training, evaluation,
diagnostics, latents, gradients, ppca. `nn` holds networks, `data` the data sets, `runs` configurations and trained
models, `view` pictures and pages, `tools` the benchmark and the bridge to PyTorch, `cli` the command line. The map and
the reading order are in the package's README.md.

Nothing heavy is imported here: `from jvae.bounds import elbo`.
"""
