"""The PyTorch bridge: the same numbers on both sides, and every mismatch named."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers import random_model, rest_slow

from jvae.cli.main import main
from jvae.distributions import ContinuousBernoulli
from jvae.errors import ModelFileError
from jvae.runs.checkpoint import load
from jvae.runs.config import Config, build_model
from jvae.runs.selection import select_run
from jvae.tools.pytorch import export_weights, import_weights, infer_config, model_from_weights

torch = pytest.importorskip("torch")

PRIORS = [{}, {"prior": "mog", "num_components": 4}]
DECODERS = ["bernoulli", "gaussian", "continuous-bernoulli"]
SHAPE = (28, 28, 1)
ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "gelu": partial(torch.nn.GELU, approximate="tanh"),
    "elu": torch.nn.ELU,
    "leaky-relu": torch.nn.LeakyReLU,
    "silu": torch.nn.SiLU,
}
LAYERS = [
    {"hidden": (24,), "activation": "tanh"},
    {"hidden": (24, 16, 12), "activation": "tanh"},
    {"hidden": (16, 12), "activation": "gelu"},
    {"hidden": (16, 12), "activation": "elu"},
    {"network": "cnn", "channels": (6,), "activation": "leaky-relu"},
    {"network": "cnn", "channels": (4, 6, 8), "activation": "silu"},
]


def peer(config: Config):
    """The exercise's model in PyTorch, with the variants that its students write."""
    from experiments.peers import pytorch as theirs

    activation = ACTIVATIONS[config.activation]
    nets = (
        theirs.mlp_nets(config.latent_dim, config.hidden, activation=activation)
        if config.network == "mlp"
        else theirs.cnn_nets(config.latent_dim, config.channels, activation)
    )
    decoders = {
        "bernoulli": theirs.BernoulliDecoder,
        "gaussian": theirs.GaussianDecoder,
        "continuous-bernoulli": theirs.ContinuousBernoulliDecoder,
    }
    mixture = config.prior == "mog"
    prior = (
        theirs.MoGPrior(config.latent_dim, config.num_components)
        if mixture
        else theirs.GaussianPrior(config.latent_dim)
    )
    return theirs.VAE(prior, decoders[config.decoder](nets[1]), theirs.GaussianEncoder(nets[0]))


@pytest.mark.parametrize("eta", [-300.0, -20.0, -1.0, -0.02, 0.0, 0.09, 5.0, 40.0])
def test_without_its_clamp_pytorchs_continuous_bernoulli_is_the_density(eta):
    """Ours is tested against float64 and quadrature elsewhere; with the clamp PyTorch's is 15.94/|logit| times it."""
    from experiments.peers.pytorch import ContinuousBernoulliDecoder

    x = torch.linspace(0, 1, 9)[:, None, None]
    logits = torch.full((9, 1, 1), eta)
    exact = np.asarray(ContinuousBernoulli(jnp.float32(eta)).log_prob(jnp.asarray(x[:, 0, 0].numpy())))
    found, clamped = (
        ContinuousBernoulliDecoder(torch.nn.Identity(), **switch)(logits).log_prob(x).numpy()
        for switch in ({"clamp": False}, {})
    )
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(clamped - exact, -np.log(max(abs(eta) / 15.942385, 1)), atol=1e-3)


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("network", rest_slow(LAYERS), ids=str)
def test_the_elbo_of_any_layers_is_pytorchs(network):
    """The layers are read from the weights, unlike the activation."""
    assert_the_elbo_is_pytorchs({}, "bernoulli", network)
    told = {name: value for name, value in network.items() if name != "activation"}
    assert infer_config(state_of(peer(Config(latent_dim=5, **network)))) == Config(latent_dim=5, **told)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("network", rest_slow([{"hidden": (32, 32)}, {"network": "cnn"}]), ids=str)
def test_the_elbo_is_pytorchs(prior, decoder, network):
    assert_the_elbo_is_pytorchs(prior, decoder, network)


def assert_the_elbo_is_pytorchs(prior, decoder, network):
    """Assert equality within 1e-5 relative, with the same weights and noise; a mixture's KL is that of the draw."""
    torch.manual_seed(0)
    config = Config(latent_dim=5, decoder=decoder, **prior, **network)
    theirs = peer(config)
    if prior:
        with torch.no_grad():
            for parameter in theirs.prior.parameters():
                parameter.normal_(0, 0.5)
    x, noise = torch.rand(7, 28, 28), torch.randn(7, 5)
    x = (x > 0.5).float() if decoder == "bernoulli" else x
    with torch.no_grad():
        q, p = theirs.encoder(x), theirs.prior()
        z = q.base_dist.loc + q.base_dist.scale * noise
        kl = q.log_prob(z) - p.log_prob(z) if prior else torch.distributions.kl_divergence(q, p)
        expected = (theirs.decoder(z).log_prob(x) - kl).numpy()
    vae = build_model(config, SHAPE)
    params = import_weights(state_of(theirs), config, SHAPE)

    def ours(vae, x, noise):
        q = vae.posterior(x)
        z = q.distribution.loc + q.distribution.scale * noise
        p = vae.marginal_priors()[0]
        kl = q.log_prob(z) - p.log_prob(z) if prior else q.kl_divergence(p)
        return vae.decode(z).log_prob(x) - kl

    found = jax.jit(lambda params, x, noise: vae.apply(params, x, noise, method=ours))(
        params, jnp.asarray(x.numpy())[..., None], jnp.asarray(noise.numpy())
    )
    # a density's 784 terms may cancel to a small sum: their rounding is then an absolute error
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(np.mean(found), np.mean(expected), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "network", rest_slow([{"hidden": (16, 16)}, {"network": "cnn"}, LAYERS[1], LAYERS[-1]]), ids=str
)
def test_there_and_back_is_the_same_bits(network):
    torch.manual_seed(1)
    config = Config(latent_dim=3, **network)
    theirs = peer(config)
    weights = state_of(theirs)
    model = model_from_weights(weights, config, SHAPE, "0")
    back = export_weights(model)
    assert back.keys() == weights.keys() | {"decoder.std"}
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
    again = import_weights(back, config, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, again, model.run_params())
    theirs.load_state_dict({name: torch.from_numpy(back[name].copy()) for name in weights})


def test_a_mixture_comes_back_within_rounding():
    """Its log-scales are bounded in jvae only: the values agree, but not to the last bit."""
    torch.manual_seed(1)
    config = Config(latent_dim=3, hidden=(16, 16), prior="mog", num_components=4)
    weights = state_of(peer(config))
    weights["prior.log_stds"] = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float32)
    back = export_weights(model_from_weights(weights, config, SHAPE, "0"))
    np.testing.assert_allclose(back["prior.log_stds"], weights["prior.log_stds"], rtol=1e-6)
    np.testing.assert_array_equal(back["prior.means"], weights["prior.means"])


def test_other_names_are_understood_by_their_order():
    config = Config(latent_dim=3, hidden=(16, 16))
    weights = state_of(peer(config))
    renamed = {
        name.replace("encoder_net", "network.layers").replace("decoder_net.", "f."): a for name, a in weights.items()
    }
    jax.tree.map(
        np.testing.assert_array_equal, import_weights(renamed, config, SHAPE), import_weights(weights, config, SHAPE)
    )


def test_every_misfit_is_named_in_one_error():
    config = Config(latent_dim=3, hidden=(16, 16))
    weights = state_of(peer(config))
    del weights["encoder.encoder_net.3.bias"], weights["decoder.decoder_net.0.weight"]
    weights |= {"extra": np.zeros(2), "encoder.encoder_net.1.weight": np.zeros((16, 10)), "prior.std": np.full(3, 2.0)}
    with pytest.raises(ModelFileError) as caught:
        import_weights(weights, config, SHAPE)
    for text in (
        "encoder.encoder_net.3.bias [16] is missing",
        "decoder.decoder_net.0.weight [16, 3] is missing",
        "extra [2] is not expected",
        "encoder.encoder_net.1.weight is [16, 10], not [16, 784]",
        "prior.std is from 2 to 2, not 1 everywhere",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("network", [{"hidden": (24, 24)}, {"network": "cnn"}], ids=str)
def test_the_configuration_is_read_from_the_weights(prior, network):
    config = Config(latent_dim=6, **prior, **network)
    assert infer_config(state_of(peer(config))) == config


@pytest.mark.slow
def test_what_has_no_counterpart_is_refused(tiny):
    for fields, text in (
        ({"prior": "flow"}, "prior is flow"),
        ({"levels": 2}, "levels is 2"),
        ({"decoder": "gaussian", "variance": "pixel"}, "variance is pixel"),
    ):
        config = Config(dataset="digits", latent_dim=2, hidden=(4, 4), epochs=1, batch_size=100, **fields)
        with pytest.raises(ModelFileError, match=text):
            export_weights(random_model(config, tiny))


def jvae(*arguments, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_the_commands_go_there_and_back(tmp_path):
    ours, theirs, back = tmp_path / "m.npz", tmp_path / "model.pt", tmp_path / "back.npz"
    flags = ["--dataset", "digits", "--latent-dim", 2, "--hidden", "8,8", "--epochs", 1, "--batch-size", 256]
    jvae("train", *flags, "--runs", 2, "--model", ours)
    assert "wrote" in jvae("export-pytorch", theirs, "--model", ours, "--run", 1).stdout
    jvae("import-pytorch", theirs, "--dataset", "digits", "--model", back)
    chosen = select_run(load(ours), 1)
    jax.tree.map(np.testing.assert_array_equal, load(back).run_params(), chosen.run_params())
    jvae("evaluate", "--model", back)
    assert "no history" in jvae("plot", "history", "--model", back, code=1).stderr
    jvae("train", "--resume", "--epochs", 2, "--model", back)
    assert "already exists" in jvae("import-pytorch", theirs, "--dataset", "digits", "--model", back, code=2).stderr


def test_a_file_that_is_no_state_dict_is_refused_before_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jvae.cli.pytorch.open_dataset", None)
    (tmp_path / "notes.txt").write_text("hello\n")
    line = jvae("import-pytorch", tmp_path / "notes.txt", "--model", tmp_path / "m.npz", code=1).stderr
    assert line.startswith(f"jvae: error: {tmp_path / 'notes.txt'}: is not a PyTorch file: a state dict is expected; ")
    assert "--dataset is 'cifar'" in jvae("import-pytorch", tmp_path / "notes.txt", "--dataset", "cifar", code=2).stderr


@pytest.mark.slow
def test_the_command_takes_the_conventions_and_says_what_it_assumes(tmp_path):
    theirs, ours = tmp_path / "model.pt", tmp_path / "m.npz"
    flags = ["import-pytorch", theirs, "--dataset", "digits", "--model", ours, "--overwrite"]
    torch.save({"model": {f"module.{k}": v for k, v in digits_peer((9, 8, 7)).state_dict().items()}}, theirs)
    told = jvae(*flags, "--activation", "tanh", "--log-std")
    assert "mlp 9-8-7, tanh, M = 3" in told.stdout
    assert load(ours).config == Config(dataset="digits", latent_dim=3, hidden=(9, 8, 7), activation="tanh")
    assert "assumed" not in told.stderr
    assert "module." in told.stderr
    assumed = jvae(*flags, "--decoder", "gaussian").stderr
    assert all(option in assumed for option in ("--activation", "--log-var", "--output-scale"))
    torch.save({**digits_peer((9,)).state_dict(), "decoder.std": torch.full((8, 8), -1.0)}, theirs)
    before = ours.read_bytes()
    (line,) = jvae(*flags, "--decoder", "gaussian", code=1).stderr.splitlines()
    assert "--stds" in line
    assert ours.read_bytes() == before
    jvae(*flags, "--decoder", "gaussian", "--stds", "exp")
    assert load(ours).config.variance == "pixel"
    (line,) = jvae(*flags, "--output-scale", 0.5, code=2).stderr.splitlines()
    assert line == "jvae: error: --output-scale is 0.5: applies only with --decoder gaussian"


def test_more_convolutions_than_the_images_can_be_halved_are_no_model(tmp_path):
    weights = {}
    for part, layers in (("encoder", 5), ("decoder", 5)):
        for i in range(layers):
            weights[f"{part}.{part}_net.{2 * i}.weight"] = torch.zeros(4, 1 if i == 0 else 4, 4, 4)
            weights[f"{part}.{part}_net.{2 * i}.bias"] = torch.zeros(4)
    torch.save(weights, tmp_path / "deep.pt")
    words = ["import-pytorch", tmp_path / "deep.pt", "--dataset", "digits", "--model", tmp_path / "m.npz"]
    (line,) = jvae(*words, code=1).stderr.splitlines()
    said = "channels is 4,4,4,4,4: images of 8x8 can be halved 3 times at most"
    assert line == f"jvae: error: {tmp_path / 'deep.pt'}: {said}"


@pytest.mark.slow
def test_what_a_state_dict_does_not_hold_is_said(tmp_path):
    words = ["--dataset", "digits", "--hidden", "4", "--latent-dim", 2, "--epochs", 1]
    jvae("train", *words, "--activation", "tanh", "--model", tmp_path / "m.npz")
    told = jvae("export-pytorch", tmp_path / "m.pt", "--model", tmp_path / "m.npz")
    assert "warning: --activation is tanh" in told.stderr


def digits_peer(hidden):
    from experiments.peers import pytorch as theirs

    encoder, decoder = theirs.mlp_nets(3, hidden, (8, 8), torch.nn.Tanh)
    return theirs.VAE(theirs.GaussianPrior(3), theirs.BernoulliDecoder(decoder), theirs.GaussianEncoder(encoder))


@pytest.fixture
def few_images(monkeypatch):
    """Give the experiments three hundred images."""
    from jvae.data import datasets

    whole = datasets.load_dataset("digits")
    few = whole._replace(train_images=whole.train_images[:300], test_images=whole.test_images[:100])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: few)


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_the_mirror_at_smoke_size(tmp_path):
    from experiments.__main__ import experiments

    flags = ["--quick", "--dataset", "digits", "--num-components", "3", "--output", str(tmp_path)]
    done = CliRunner().invoke(experiments, ["mirror", *flags])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "mirror" / "results.json").read_text())["values"]["priors"]
    for prior in ("gaussian", "mog"):
        values = result[prior]["jvae"] + result[prior]["pytorch"]
        assert len(set(values)) == 6
        assert all(-60 < value < -20 for value in values)


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_the_throughput_at_smoke_size():
    from experiments.__main__ import experiments

    flags = [
        word for name in ("jvae", "jvae-bfloat16", "step-by-step", "exercise", "tuned") for word in ("--who", name)
    ]
    done = CliRunner().invoke(
        experiments, ["throughput", "--dataset", "digits", "--rounds", "2", "--images", "256", *flags]
    )
    assert done.exit_code == 0, done.output
    assert sum(line.endswith(" |") for line in done.stdout.splitlines()) == 7
