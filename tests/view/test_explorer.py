"""The explorer's page, read without a browser."""

import json
import os
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers import random_model, unpacked

from jvae.cli.main import main
from jvae.errors import JvaeError
from jvae.latents import Projection
from jvae.runs.checkpoint import save
from jvae.runs.config import Config
from jvae.view.classes import class_colours
from jvae.view.explorer import assembled_page, explorer_page, prior_data, square_window
from jvae.view.pictures import latents_of_test_set
from jvae.view.weights import with_page_weights


def data_of(page: str) -> dict:
    """Return the value in a page's one JSON element, with its arrays unpacked."""
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return unpacked(json.loads(content))


def test_what_stands_in_the_data_cannot_end_its_element():
    title = "a </script><script>alert(1)</script> <!-- tfds:ü"
    assert data_of(assembled_page({"title": title})) == {"title": title}


def test_the_page_is_self_contained_and_makes_no_requests(small, tiny):
    page = explorer_page(random_model(small, tiny), tiny)
    without_data = re.sub(r'(?<=id="data">).*?(?=</script>)', "", page, flags=re.DOTALL)
    assert not re.findall(r"https?:|//\w+\.\w|@import|url\(|fetch\(|XMLHttp|WebSocket|<iframe|\bimport\b", without_data)
    assert re.findall(r'\b(?:src|href)="([^"]*)"', without_data) == ["data:,"]
    assert "default-src 'none'" in page
    assert page.count("<style>") == 2  # the style of every page, and its own
    assert "function makeDecoder" in page


@pytest.mark.slow
@pytest.mark.parametrize(("m", "axes"), [(2, 2), (1, 1), (3, 3)])
def test_every_point_is_a_test_image_at_its_latent(small, tiny, m, axes):
    model = random_model(replace(small, latent_dim=m), tiny)
    data = data_of(explorer_page(model, tiny, jax.random.key(4), num_points=20))
    z = latents_of_test_set(with_page_weights(model), tiny, jax.random.key(4))
    assert data["coordinates"].shape == (20, axes)
    lifted = data["coordinates"] @ data["projection"]["axes"] + data["projection"]["center"]
    for point, image, label in zip(lifted, data["images"], data["labels"], strict=True):
        (which,) = np.flatnonzero(np.all(np.isclose(z, point, atol=1e-5), axis=1))
        np.testing.assert_array_equal(image, tiny.test_images[which])
        assert data["classes"][label]["name"] == str(tiny.test_labels[which])


def test_all_points_are_shown_where_there_are_no_more(small, tiny):
    data = data_of(explorer_page(random_model(small, tiny), tiny, num_points=2000))
    assert sorted(map(bytes, data["images"])) == sorted(map(bytes, tiny.test_images))


@pytest.mark.slow
def test_classes_have_the_colours_of_the_pictures(small, digits):
    """The classes of all test images, whichever images are shown."""
    data = data_of(explorer_page(random_model(small, digits), digits, num_points=3))
    assert [entry["name"] for entry in data["classes"]] == [str(digit) for digit in range(10)]
    for entry, colour in zip(data["classes"], class_colours(np.arange(10)), strict=True):
        assert entry["colour"] == colour


def test_the_window_is_square_and_holds_every_point():
    coordinates = np.random.default_rng(0).normal(size=(100, 2)) * [1, 4] + [7, -2]
    (left, right), (bottom, top) = square_window(coordinates)
    assert right - left == pytest.approx(top - bottom)
    assert np.all((coordinates > [left, bottom]) & (coordinates < [right, top]))
    assert square_window(np.zeros((3, 1)))[0, 0] < 0 < square_window(np.zeros((3, 1)))[0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("m", [2, 1, 4])
def test_the_priors_bands_hold_their_share_of_its_mass(small, tiny, m):
    """For a standard normal, in any projection: exp(-r^2/2) of the mass is beyond radius r of the plane."""
    model = random_model(replace(small, latent_dim=m), tiny)
    data = data_of(explorer_page(model, tiny))
    density, window = data["prior"]["density"], np.array(data["window"])
    assert data["prior"]["exact"]
    ticks = [np.linspace(low, high, len(density)) for low, high in window]
    center = (data["projection"]["center"] @ data["projection"]["axes"].T)[:2]
    radius = np.sqrt(sum((axis + c) ** 2 for axis, c in zip(np.meshgrid(*ticks), center, strict=True)))
    expected = np.exp(-(radius**2) / 2) / (2 * np.pi) ** (min(m, 2) / 2)
    np.testing.assert_allclose(density, expected, rtol=1e-4, atol=1e-7)


def test_a_prior_without_mass_among_the_points_has_no_bands(small, tiny):
    model = random_model(small, tiny)
    plane = Projection(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:2], ("a", "b"))
    assert prior_data(model, plane, np.array([[100.0, 200.0]] * 2), jax.random.key(0))["levels"] == []


def test_an_activation_that_the_page_does_not_know_is_refused(small, tiny):
    model = random_model(small, tiny)
    vae = model.recipe.model
    decoder = vae.decoder.clone(net=vae.decoder.net.clone(activation=jax.nn.softplus))
    model = model._replace(recipe=model.recipe._replace(model=vae.clone(decoder=decoder)))
    with pytest.raises(JvaeError, match="cannot compute the decoder's activation: it supports relu, tanh"):
        explorer_page(model, tiny)


@pytest.mark.slow
def test_products_that_the_page_does_not_know_are_refused(small, tiny):
    model = random_model(small, tiny)
    vae = model.recipe.model
    decoder = vae.decoder.clone(net=vae.decoder.net.clone(matmul=lambda a, b: a @ b))
    own = model._replace(recipe=model.recipe._replace(model=vae.clone(decoder=decoder)))
    with pytest.raises(JvaeError, match="cannot compute the decoder's matrix products"):
        explorer_page(own, tiny)


def test_of_two_levels_the_lower_one_is_explored(small, tiny):
    model = random_model(replace(small, levels=2, upper_dim=2), tiny)
    data = data_of(explorer_page(model, tiny))
    assert data["level"]
    assert not data["prior"]["exact"]
    assert data["coordinates"].shape == (30, 3)


def explore(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["explore", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def path(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "model.npz"
    config = Config(dataset="digits", latent_dim=2, hidden=(16, 16), epochs=1)
    save(path, random_model(config, digits))
    return path


@pytest.mark.slow
def test_the_command_writes_a_page_and_says_its_size(path, tmp_path):
    output = tmp_path / "explorer.html"
    told = explore("--model", path, "--output", output, "--num-points", "100").stdout
    assert told == f"wrote {output}: 100 test images, {output.stat().st_size / 1e6:.1f} MB\n"
    assert len(data_of(output.read_text(encoding="utf-8"))["labels"]) == 100
    assert "256 test images" in explore("--model", path, "--output", output).stdout
    again = tmp_path / "again.html"
    explore("--model", path, "--output", again)
    assert again.read_bytes() == output.read_bytes()
    explore("--model", path, "--output", again, "--seed", "1")
    assert again.read_bytes() != output.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.html", "explorer.html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--output", "explorer.png"], "explorer.png: the ending must be one of .html, .htm", 2),
        (["--output", "/no/such/place/explorer.html"], "/no/such/place does not exist", 2),
        (["--num-points", "0"], "--num-points", 2),
        (["--latent-dim", "3"], "--latent-dim is 3", 2),
        (["--run", "1"], "1", 2),
    ],
)
def test_wrong_commands_get_one_line(path, tmp_path, monkeypatch, arguments, said, code):
    monkeypatch.chdir(tmp_path)
    result = explore("--model", path, *arguments, code=code)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("jvae: error: ")
    assert said in line
    assert os.listdir(tmp_path) == []
