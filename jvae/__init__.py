"""jvae: train, compare and understand variational autoencoders in JAX.

The map, from the mathematics outwards:

    bounds          LogDensities, the one currency; draw, elbo, iwae
    networks        MLP                                        array -> array
    encoders        GaussianEncoder                            x -> q(z|x)
    decoders        BernoulliDecoder                           z -> p(x|z)
    priors          GaussianPrior                              -> p(z)
    vae             VAE                                        key, x -> LogDensities
    transforms      binarise                                   key, uint8 images -> x
    training        TrainState, make_train_step, make_epoch, fit
    evaluation      evaluate: a bound of a whole data set, with its errors
    latents         the aggregate posterior and its projection
    datasets        Dataset, load_dataset
    config          Config, and the builders from its names to objects
    checkpoint      ModelFile, save_model, load_model
    run             train: Config and data in, a model file an epoch out
    plots           plot_*, arrays -> matplotlib Figure
    parallel        devices
    cli             the command line

Nothing heavy is imported here: `from jvae.bounds import elbo`.
"""
