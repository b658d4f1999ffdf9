"""jvae: train, compare and understand variational autoencoders in JAX.

The map, from the mathematics outwards:

    bounds          LogDensities, the one currency; draw, elbo, iwae
    divergences     KL between Gaussians, in closed form
    distributions   Bernoulli, ContinuousBernoulli: distrax distributions
    initializers    how weights start
    convolutions    what halves and doubles an image, as matrix products
    networks        MLP, ConvEncoderNet, ConvDecoderNet                  array -> array
    encoders        GaussianEncoder                                      x -> q(z|x)
    decoders        Bernoulli-, Gaussian-, ContinuousBernoulliDecoder    z -> p(x|z)
    priors          GaussianPrior, MoGPrior, VampPrior, FlowPrior        -> p(z)
    vae             VAE, HierarchicalVAE                                 key, x -> LogDensities
    ppca            the VAE whose every integral is known: the oracle
    gradients       estimators of a bound's gradient: pathwise, score function, ...
    transforms      binarise, rescale, dequantise                        key, uint8 images -> x
    training        TrainState, make_train_step, make_epoch, fit
    selection       which epoch a run keeps, and when it stops
    evaluation      evaluate, evaluate_iwae: bounds of a whole data set, with their errors
    diagnostics     what a trained model does with its latent space
    latents         the aggregate posterior, the prior, and their projection
    datasets        Dataset, load_dataset; families, idx, tfds, npm: where data come from
    config          Config, and the builders from its names to objects
    checkpoint      ModelFile, save_model, load_model
    run             train: Config and data in, a model file an epoch out
    pictures        a trained model's pictures, by way of plots
    plots           plot_*, arrays -> matplotlib Figure
    report          results as text and as JSON
    errors          what the command line reports in one line
    parallel        devices
    cli             the command line; cli_options: its options

Nothing heavy is imported here: `from jvae.bounds import elbo`.
"""
