import json

import numpy as np
import pytest

from jvae import gradients
from jvae.nn import networks
from jvae.recipe import check_recipe
from jvae.runs.config import Config, Range, RecipeConfig, build_recipe, config_fields
from jvae.runs.fields import text_of
from jvae.runs.schedules import FALLING


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
        ("latent_dim", 2.5, "a whole number"),
        ("latent_dim", True, "a whole number"),
        ("epochs", -1, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "finite number"),
        ("learning_rate", float("inf"), "finite number"),
        ("learning_rate", 1e-39, "from 1.2e-38 to 3.4e38 in size, as float32 is"),
        ("beta", 1e39, "from 1.2e-38 to 3.4e38 in size, as float32 is"),
        ("beta", -0.1, "at least 0"),
        ("seed", 2**32, "at most 4294967295"),
        ("prior", "cauchy", "one of gaussian"),
        ("num_components", 3, "only with prior mog or vamp, not gaussian"),
        ("pseudo_inputs", "data", "only with prior vamp"),
        ("coupling", "spline", "only with prior flow"),
        ("variance", "pixel", "only with decoder gaussian"),
        ("output_scale", 0.5, "only with decoder gaussian"),
        ("dequantise", False, "only with decoder gaussian or continuous-bernoulli"),
        ("dequantise", 1, "true or false"),
        ("dataset", "cifar", "tfds:NAME"),
        ("dataset", "tfds:", "tfds:NAME"),
        ("hidden", (), "tuple of 1 to 100 whole numbers"),
        ("hidden", 16, "tuple of 1 to 100 whole numbers"),
        ("hidden", (8,) * 101, "tuple of 1 to 100 whole numbers"),
        ("hidden", (16, 0), "at least 1 and at most 65536"),
        ("hidden", (16, 2.5), "a whole number"),
        ("hidden", np.array([16.0]), "a whole number"),
        ("hidden", np.array([[16]]), "a whole number"),
        ("hidden", np.array(16), "tuple of 1 to 100 whole numbers"),
        ("channels", (16,), "only with network cnn, not mlp"),
        ("activation", "sine", "one of relu, tanh"),
        ("estimator", "rloo", "one of pathwise, stl, dreg"),
        ("estimator", "dreg", "only with bound iwae, not elbo"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} is .*{rule}"):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bound": "iwae"}, "estimator is stl: .* bound elbo, not iwae"),
        ({"levels": 2}, "estimator is stl: .* levels 1, not 2"),
        ({"beta": 4.0}, "beta is 4: the estimator stl takes no KL weight"),
        ({"kl_warmup": 1.0}, "kl_warmup is 1: the estimator stl takes no KL weight"),
    ],
)
def test_an_estimator_is_refused_where_it_does_not_apply(fields, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        Config(estimator="stl", **fields)
    Config(estimator="pathwise", **fields)


def test_an_estimator_is_a_part_of_the_recipe_and_pathwise_the_bounds_own_gradient():
    for fields, found in (
        ({}, None),
        ({"bound": "iwae"}, None),
        ({"estimator": "stl"}, gradients.sticking_the_landing),
        ({"estimator": "dreg", "bound": "iwae"}, gradients.doubly_reparametrised),
    ):
        recipe = build_recipe(Config(**fields), (8, 8, 1))
        assert recipe.estimator is found
        check_recipe(recipe)


def test_numbers_survive_json_as_a_tuple():
    config = Config(network="cnn", channels=(4, 8, 16))
    again = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
    assert again.channels == (4, 8, 16)


def test_an_array_is_a_tuple_of_its_numbers():
    config = Config(hidden=np.array([8, 4]))
    assert (config, hash(config)) == (Config(hidden=(8, 4)), hash(Config(hidden=(8, 4))))


def test_what_is_no_config_makes_no_recipe():
    with pytest.raises(ValueError, match=r"^config is of the type dict: must be a Config$"):
        build_recipe({"latent_dim": 3}, (8, 8, 1))


def test_a_recipe_file_decides_what_its_fields_apply_to():
    config = RecipeConfig(num_components=3, channels=(4,), upper_dim=2)
    assert RecipeConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match=r"^patience is 3: applies only with validation held-out or test, not none$"):
        RecipeConfig(patience=3)


def test_the_width_of_0_1_0_is_that_of_two_layers():
    assert Config.from_dict({"hidden_dim": 24}) == Config(hidden=(24, 24))
    assert Config.from_dict({"hidden_dim": 512, "network": "cnn"}) == Config(network="cnn")
    with pytest.raises(ValueError, match="hidden is 0: must be at least 1"):
        Config.from_dict({"hidden_dim": 0})
    with pytest.raises(ValueError, match="unknown configuration field hidden_dim"):
        Config.from_dict({"hidden_dim": 24, "hidden": [24, 24]})


@pytest.mark.parametrize(("text", "value"), [("512,256", (512, 256)), ("512x256", (512, 256)), ("7", (7,))])
def test_numbers_are_read_as_they_are_written(text, value):
    (field,) = (field for field in config_fields() if field.name == "hidden")
    assert field.parse(text) == value
    assert field.parse(text_of(value)) == field.parse(text_of(value, "x")) == value


def test_the_networks_know_every_activation_and_the_usual_layers():
    (field,) = (field for field in config_fields() if field.name == "activation")
    assert set(field.choices) == networks.ACTIVATIONS.keys()
    assert (Config().hidden, Config().channels) == (networks.WIDTHS, networks.CHANNELS)


def test_the_schedules_are_those_that_there_are():
    (field,) = (field for field in config_fields() if field.name == "schedule")
    assert set(field.choices) == FALLING.keys()


def test_every_field_has_help_and_a_default_that_keeps_its_rule():
    for field in config_fields():
        assert len(field.help) > 3
        field.check(field.default)
        assert field.range is None or isinstance(field.range, Range)
