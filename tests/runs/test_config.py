import pytest

from jvae.runs.config import Config, Range, config_fields


def test_the_defaults_are_the_exercises():
    config = Config()
    assert (config.latent_dim, config.epochs, config.batch_size, config.learning_rate) == (32, 10, 32, 1e-3)


def test_a_config_survives_json(small):
    assert Config.from_dict(small.to_dict()) == small


def test_a_missing_field_takes_its_default():
    assert Config.from_dict({"latent_dim": 3}) == Config(latent_dim=3)


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match="unknown configuration field colour"):
        Config.from_dict({"colour": "red"})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("latent_dim", 0, "at least 1"),
        ("latent_dim", 2.5, "int"),
        ("latent_dim", True, "int"),
        ("epochs", -1, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", float("inf"), "above 0"),
        ("beta", -0.1, "at least 0"),
        ("seed", 2**32, "at most 4294967295"),
        ("prior", "cauchy", "one of gaussian"),
        ("num_components", 3, "only with prior mog or vamp, not gaussian"),
        ("pseudo_inputs", "data", "only with prior vamp"),
        ("coupling", "spline", "only with prior flow"),
        ("variance", "pixel", "only with decoder gaussian"),
        ("output_scale", 0.5, "only with decoder gaussian"),
        ("dequantise", False, "only with decoder gaussian or continuous-bernoulli"),
        ("dequantise", 1, "bool"),
        ("dataset", "cifar", "tfds:NAME"),
        ("dataset", "tfds:", "tfds:NAME"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} is .*{rule}"):
        Config(**{name: value})


def test_every_field_has_help_and_a_default_that_keeps_its_rule():
    for field in config_fields():
        assert len(field.help) > 3
        if field.range:
            assert isinstance(field.range, Range)
            assert field.range.admits(field.default)
