"""jvae: train, compare and understand variational autoencoders in JAX.

The map, from the mathematics outwards:

    bounds          LogDensities, the one currency; draw, elbo, iwae
    divergences     KL between Gaussians, in closed form
    distributions   Bernoulli, ContinuousBernoulli, ImageDistribution: distrax distributions
    initializers    how weights start
    products        matrix products, in float32 or with bfloat16 operands
    convolutions    what halves and doubles an image, as matrix products
    networks        MLP, ConvEncoderNet, ConvDecoderNet                  array -> array
    encoders        GaussianEncoder                                      x -> q(z|x)
    decoders        Bernoulli-, Gaussian-, ContinuousBernoulliDecoder    z -> p(x|z)
    priors          GaussianPrior, MoGPrior, VampPrior, FlowPrior        -> p(z)
    vae             VAE, HierarchicalVAE                                 key, x -> LogDensities
    ppca            the VAE whose every integral is known: the oracle
    gradients       estimators of a bound's gradient: pathwise, score function, ...
    transforms      binarise, rescale, dequantise                        key, uint8 images -> x
    training        TrainState, make_train_step, make_chunk; make_epoch, fit
    lanes           the runs that one program computes, and what each has of its own
    progress        where a training stands, and its advance in chunks of seconds
    streaming       images that stay on the disk, read ahead
    parallel        devices: the mesh over runs and batches; many hosts
    selection       which epoch a run keeps, and when it stops
    evaluation      evaluate, evaluate_iwae: bounds of a whole data set, with their errors
    diagnostics     what a trained model does with its latent space
    latents         the aggregate posterior, the prior, and their projection
    datasets        Dataset, load_dataset; families, idx, tfds, decoded, npm: where data come from
    config          Config, and the builders from its names to objects
    checkpoint      ModelFile, save_model, load_model; files: written whole or not at all
    epoch_loop        what becomes of a training after every epoch, and the way back
    run             train: Config and data in, a model file an epoch out
    sweep           every combination of a grid's values
    benchmark       a step's speed, its products and the machine's peak
    profile         which part of a step takes which share of its time
    pytorch         to and from the exercise's state dict
    interruption    signals, as a question that a training asks
    compile_cache   programs that were compiled once
    pictures        a trained model's pictures, by way of plots and sheets
    plots, sheets   plot_*, arrays -> matplotlib Figure: of latents, results and training; of images
    explorer        a trained model's latent space as one HTML page; page: what it is made of
    report          results as text and as JSON
    errors          what the command line reports in one line
    cli             the command line: cli_train, cli_sweep, cli_explore, cli_benchmark, cli_pytorch; cli_options,
                    console

Nothing heavy is imported here: `from jvae.bounds import elbo`.
"""
