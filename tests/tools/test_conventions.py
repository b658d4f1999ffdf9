"""Students' models: the imported model computes what they compute in PyTorch, or they are refused."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rest_slow

from jvae.errors import ModelFileError
from jvae.runs.config import build_model
from jvae.tools.conventions import Conventions, _log_var, translate
from jvae.tools.pytorch import import_weights, infer_config
from jvae.tools.state_dict import load_state_dict

torch = pytest.importorskip("torch")
td, nn = torch.distributions, torch.nn

M, K, SHAPE = 3, 4, (8, 8, 1)
START = torch.linspace(-0.4, 0.7, K * M).reshape(K, M)


def mlp(*widths, activation=nn.ReLU):
    return [layer for a, b in pairwise(widths) for layer in (activation(), nn.Linear(a, b))][1:]


class Student(nn.Module):
    """The exercise's model with a student's names: `spread` turns the encoder's second half into scales."""

    def __init__(self, hidden=(6, 5), spread=torch.exp, heads=(), prior=None, decoder=None, activation=nn.ReLU):
        super().__init__()
        self.spread, self.heads = spread, heads
        self.encoder, self.decoder, self.prior = nn.Module(), decoder or nn.Module(), prior or nn.Module()
        last = [] if heads else [2 * M]
        self.encoder.net = nn.Sequential(nn.Flatten(), *mlp(64, *hidden, *last, activation=activation))
        if heads:
            self.encoder.net.append(activation())
        for name in heads:
            setattr(self.encoder, name, nn.Linear(hidden[-1], M))
        self.decoder.net = nn.Sequential(*mlp(M, *hidden[::-1], 64, activation=activation), nn.Unflatten(-1, (8, 8)))

    def q(self, x):
        h = self.encoder.net(x)
        mean, spread = [getattr(self.encoder, name)(h) for name in self.heads] or h.chunk(2, dim=-1)
        return td.Independent(td.Normal(mean, self.spread(spread)), 1)

    def p(self):
        return self.prior() if hasattr(self.prior, "scale") else td.Independent(td.Normal(torch.zeros(M), 1.0), 1)

    def likelihood(self, z):
        out = self.decoder.net(z)
        if hasattr(self.decoder, "scale"):
            return td.Independent(td.Normal(out, self.decoder.scale()), 2)
        return td.Independent(td.Bernoulli(logits=out), 2)

    def terms(self, x, z):
        return [term.detach().numpy() for term in (
            self.likelihood(z).log_prob(x), self.p().log_prob(z), self.q(x).log_prob(z)
        )]  # fmt: skip


class Mixture(nn.Module):
    def __init__(self, names, scale, values=START, shape=(K,)):
        super().__init__()
        self.scale, self.names = scale, names
        for name, value in zip(names, (torch.linspace(-1, 1, K).reshape(shape), START - 0.2, values), strict=True):
            setattr(self, name, nn.Parameter(value))

    def forward(self):
        logits, means, spread = (getattr(self, name) for name in self.names)
        components = td.Independent(td.Normal(means, self.scale(spread)), 1)
        return td.MixtureSameFamily(td.Categorical(logits=logits.reshape(-1)), components)


class Scaled(nn.Module):
    """A Gaussian decoder with a learned scale."""

    def __init__(self, name, values, scale):
        super().__init__()
        setattr(self, name, nn.Parameter(values))
        self.scale = lambda: scale(getattr(self, name))


def itself(value):
    return value


def from_log_var(value):
    return torch.exp(value / 2)


def assert_imported(student, tmp_path, gaussian=False, activation="relu", **conventions):
    """Assert that a model, saved and imported, gives the same log-densities; return what the import printed."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name.startswith("encoder") or ".net." in name:
                parameter.normal_(0, 0.4)
    torch.save(student.state_dict(), tmp_path / "model.pt")
    said = []
    weights = load_state_dict(tmp_path / "model.pt")
    known = translate(weights, Conventions(**conventions), gaussian, SHAPE, said.append)
    config = infer_config(known, decoder="gaussian" if gaussian else "bernoulli", activation=activation)
    params = import_weights(known, config, SHAPE)
    x, z = torch.rand(5, 8, 8), torch.randn(5, M)
    x = x if gaussian else (x > 0.5).float()

    def ours(vae, x, z):
        return vae.decode(z).log_prob(x), vae.marginal_priors()[0].log_prob(z), vae.posterior(x).log_prob(z)

    found = build_model(config, SHAPE).apply(
        params, jnp.asarray(x.numpy())[..., None], jnp.asarray(z.numpy()), method=ours
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4), list(found), student.terms(x, z))
    return said


@pytest.mark.parametrize(
    ("heads", "spread", "conventions"),
    rest_slow(
        [
            ((), torch.exp, {}),
            ((), from_log_var, {"log_var": True}),
            (("fc_mu", "fc_logvar"), from_log_var, {}),
            (("mean_layer", "log_std_layer"), torch.exp, {}),
            (("fc_mu", "fc_var"), from_log_var, {"log_var": True}),
            (("mean", "std"), torch.exp, {"log_var": False}),
            (("fc21", "fc22"), from_log_var, {"log_var": True}),
            (("fcMean", "fcLogVar"), torch.exp, {"log_var": False}),  # an explicit option overrides a name
        ]
    ),
)
def test_encoders_of_one_head_and_of_two(tmp_path, heads, spread, conventions):
    assert_imported(Student(heads=heads, spread=spread), tmp_path, **conventions)


def test_heads_are_told_apart_by_name_and_not_by_place(tmp_path):
    class Swapped(Student):
        def q(self, x):
            h = self.encoder.net(x)
            return td.Independent(td.Normal(self.encoder.mu(h), torch.exp(self.encoder.log_sigma(h))), 1)

    assert_imported(Swapped(heads=("log_sigma", "mu")), tmp_path)


@pytest.mark.parametrize(("hidden", "heads"), [((6,), ()), ((7, 6, 5), ()), ((2 * M, M), ("fc_mu", "fc_log_std"))])
def test_any_number_of_layers(tmp_path, hidden, heads):
    """Even if a hidden layer is as wide as a head."""
    assert_imported(Student(hidden, heads=heads), tmp_path)


def test_the_activation_is_what_is_said(tmp_path):
    assert_imported(Student(activation=nn.LeakyReLU), tmp_path, activation="leaky-relu")
    assert_imported(Student(activation=nn.Tanh), tmp_path, activation="tanh")


@pytest.mark.parametrize(
    ("names", "scale", "values", "conventions"),
    rest_slow(
        [
            (("logits", "means", "log_stds"), torch.exp, START, {}),
            (("mixture_weights", "means", "stds"), itself, START + 1, {}),
            (("mixture_weights", "means", "stds"), torch.exp, START + 1, {"stds": "exp"}),
            (("mixture_weights", "means", "stds"), nn.functional.softplus, START, {"stds": "softplus"}),
            (("w", "mu", "logvars"), from_log_var, START, {}),
            (("pi", "mixture_means", "mixture_log_vars"), from_log_var, START, {}),
            (("weights", "locs", "scales"), itself, START[:, :1] + 1, {}),
            (("mixture_logits", "means", "variances"), torch.sqrt, START + 1, {}),
        ]
    ),
)
def test_mixtures_by_the_names_that_students_give(tmp_path, names, scale, values, conventions):
    shape = (K, 1, 1) if "w" in names else (K,)
    assert_imported(Student(prior=Mixture(names, scale, values, shape)), tmp_path, **conventions)


@pytest.mark.parametrize(
    ("name", "values", "scale", "conventions"),
    [
        ("std", torch.tensor(0.2), itself, {}),
        ("std", torch.tensor([-1.5]), torch.exp, {"stds": "exp"}),
        ("std", torch.linspace(0.05, 0.9, 64).reshape(8, 8), itself, {}),
        ("std", torch.linspace(-4, 0.5, 64).reshape(8, 8), torch.exp, {"stds": "exp"}),
        ("log_std", torch.linspace(-4, 0.5, 64), lambda v: torch.exp(v).reshape(8, 8), {}),
        ("logvar", torch.tensor(-3.0), from_log_var, {}),
    ],
)
def test_a_learned_scale_of_the_output(tmp_path, name, values, scale, conventions):
    assert_imported(Student(decoder=Scaled(name, values, scale)), tmp_path, gaussian=True, **conventions)


@pytest.mark.parametrize(
    ("name", "log_var"),
    [
        *((name, True) for name in ("z_log_sigma_sq", "fc_logsigma2", "log_std_sq", "logSigmaSquared", "log_var")),
        *((name, False) for name in ("log_std", "fc_logstd2", "log_sigma.2", "log_sigma21", "log_scale")),
        ("std", None),
    ],
)
def test_a_squared_scale_is_a_variance(name, log_var):
    """A number behind a log-std is a layer's."""
    assert _log_var(f"encoder.{name}.weight") is log_var


def test_what_is_assumed_is_said(tmp_path):
    student = Student(prior=Mixture(("mixture_weights", "means", "stds"), itself, START + 1))
    said = "\n".join(assert_imported(student, tmp_path))
    for word in ("--log-var", "--stds", "logits"):
        assert word in said
    assert "--log-var" not in "\n".join(assert_imported(student, tmp_path, log_var=False))


def arrays_of(student):
    return {name: tensor.numpy().copy() for name, tensor in student.state_dict().items()}


def imported(weights, gaussian=False, **conventions):
    known = translate(weights, Conventions(**conventions), gaussian, SHAPE, lambda line: None)
    scale = {"output_scale": conventions["output_scale"]} if conventions.get("output_scale") else {}
    config = infer_config(known, decoder="gaussian" if gaussian else "bernoulli", **scale)
    import_weights(known, config, SHAPE)
    return config


HALVES = {"decoder.std": np.full((8, 8), 0.5, np.float32)}


@pytest.mark.parametrize(
    ("student", "more", "gaussian", "conventions", "said"),
    [
        (Student(heads=("mean", "std")), {}, False, {}, "--log-std or --log-var"),
        (
            Student(),
            {"decoder.std": np.full((1, 1), 0.1, np.float32)},
            False,
            {},
            "decoder.std is from 0.1 to 0.1, not 0.5",
        ),
        (
            Student(),
            {"decoder.std": np.array(0.1, np.float32)},
            True,
            {"output_scale": 0.3},
            "leave --output-scale out",
        ),
        (
            Student(),
            {"decoder.std": np.array(-1, np.float32)},
            True,
            {},
            "holds -1, and standard deviations are above 0: --stds",
        ),
        (Student(), {"decoder.log_std": np.array(-7, np.float32)}, True, {}, "must be above -6"),
        (Student(), {"decoder.log_std": np.zeros((3, 3), np.float32)}, True, {}, "is .3, 3., not .8, 8, 1."),
        (Student(), HALVES, True, {}, "say by --output-scale"),
        (Student(), {"prior.pseudo": np.zeros((5, 64))}, False, {}, r"prior.pseudo \[5, 64\] is not expected"),
        (Student(), {"encoder.net.2.running_mean": np.zeros(6)}, False, {}, "running_mean .6. is not expected"),
        (Student(prior=Mixture(("w", "means", "stds"), itself, START)), {}, False, {}, "prior.stds holds -0.4"),
        (Student(prior=Mixture(("w", "means", "radii"), itself)), {}, False, {}, "prior.radii .4, 3. is not expected"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(student, more, gaussian, conventions, said):
    with pytest.raises(ModelFileError, match=said) as caught:
        imported(arrays_of(student) | more, gaussian, **conventions)
    assert "\n" not in str(caught.value)


def test_a_decoder_of_other_widths_is_refused():
    student, other = Student((6, 5)), Student((7,))
    student.decoder = other.decoder
    with pytest.raises(ModelFileError, match="decoder"):
        imported(arrays_of(student))


def test_the_exercises_unused_scale_is_left_out():
    assert imported(arrays_of(Student()) | HALVES).variance == "fixed"
    assert imported(arrays_of(Student()) | HALVES, True, output_scale=0.2).output_scale == 0.2
