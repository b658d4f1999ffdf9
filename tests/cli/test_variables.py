"""Environment variables in place of options."""

import pytest
from helpers import jvae, refused

MISSPELT = {
    "JVAE_TRAIN_EPOCH": "JVAE_TRAIN_EPOCHS",
    "JVAE_TRIAN_EPOCHS": "JVAE_TRAIN_EPOCHS",
    "JVAE_EPOCHS": "JVAE_TRAIN_EPOCHS",
    "JVAE_CACHEDIR": "JVAE_CACHE_DIR",
    "JVAE_TRAIN_MODLE": "JVAE_TRAIN_MODEL",
}


@pytest.mark.parametrize("variable", MISSPELT)
def test_a_misspelt_variable_gets_a_suggestion(monkeypatch, variable):
    monkeypatch.setenv(variable, "3")
    assert f"{variable}: " in (line := refused("train", code=2))
    assert MISSPELT[variable] in line


@pytest.mark.parametrize("variable", ["JVAE_TUTORIAL_DATASET", "JVAE_HOME", "JVAE_SAMPLE_MEAN", "JVAE_EVALUATE_DEVICE"])
def test_other_variables_are_left_alone(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert variable not in refused("train", "--epochs", "0", code=2)


@pytest.mark.parametrize("value", ["ten", "0"])
def test_a_bad_value_is_reported_with_the_variables_name(monkeypatch, value):
    monkeypatch.setenv("JVAE_TRAIN_EPOCHS", value)
    assert refused("train", code=2).startswith("jvae: error: JVAE_TRAIN_EPOCHS: ")


@pytest.mark.parametrize("variable", ["JVAE_INFO_CONFIG", "JVAE_EVALUATE_MODEL", "JVAE_PLOT_PRIOR_MODEL"])
def test_a_variable_has_its_options_name(monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, str(tmp_path / "none"))
    command = variable.split("_")[1:-1]
    assert f"{variable}: " in refused(*map(str.lower, command), code=2)


def test_the_command_line_wins(monkeypatch):
    monkeypatch.setenv("JVAE_DATASETS_DATA_DIR", "/no/such/place")
    jvae("datasets", "--data-dir", "/")
