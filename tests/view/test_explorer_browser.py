"""The explorer's page in headless Chromium: what it decodes, and every way to use it."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import jax
import numpy as np
import pytest
from browser import frame
from helpers import random_model
from PIL import Image

from jvae.data.dataset import Dataset
from jvae.nn.networks import ACTIVATIONS
from jvae.runs.api import decode, encode
from jvae.runs.config import Config, build_model
from jvae.view.explorer import explorer_page
from jvae.view.weights import SEEN, with_page_weights

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture
def visit(visit):
    """Open a page, offline, as `browser.visit` does, by default on a small laptop's screen."""
    return lambda content, **options: visit(content, **{"viewport": WIDE, **options})


def means(model, z: np.ndarray) -> np.ndarray:
    """Return what JAX decodes with the page's weights."""
    vae, params = build_model(model.config, model.data_shape), with_page_weights(model).run_params()
    return np.asarray(jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())(params, z))


def images_of(shape: tuple[int, ...], n: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (n, *shape), np.uint8), (np.arange(n) % 3).astype(np.uint8)
    return Dataset(images, labels, images, labels, "tfds:noise", "0" * 64)


MLP, CNN = {"hidden": (32, 32)}, {"network": "cnn"}
OUTPUTS = [
    {"decoder": "bernoulli"},
    {"decoder": "gaussian"},
    {"decoder": "gaussian", "variance": "pixel"},
    {"decoder": "continuous-bernoulli"},
]
DECODED = [({**network, **output}, (28, 28, 1)) for network in (MLP, CNN) for output in OUTPUTS]
DECODED += [({**network, "precision": "bfloat16"}, (28, 28, 1)) for network in (MLP, CNN)]
DECODED += [({**network, "decoder": "gaussian"}, (13, 10, 3)) for network in (MLP, CNN)]
DECODED += [({"hidden": (512, 512), "latent_dim": 10}, (28, 28, 1)), ({**MLP, "latent_dim": 1}, (8, 8, 1))]
DECODED += [({**MLP, "levels": 2, "upper_dim": 2, "prior": "mog", "num_components": 3}, (8, 8, 1))]


DECODED += [({"hidden": (12, 20, 16), "activation": name, "decoder": "gaussian"}, (8, 8, 1)) for name in ACTIVATIONS]
DECODED += [({"hidden": (9,) * 11, "activation": "elu"}, (8, 8, 1)), ({"hidden": (24,)}, (8, 8, 1))]
DECODED += [({**CNN, "channels": (4, 6, 8), "activation": "silu"}, (13, 10, 3))]
DECODED += [({**CNN, "channels": (8,), "activation": "tanh", "precision": "bfloat16"}, (8, 8, 1))]


def name_of(value: dict | tuple) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else "-".join(map(str, value.values()))


@pytest.mark.parametrize(("fields", "shape"), DECODED, ids=name_of)
def test_the_browser_decodes_what_jax_decodes(visit, fields, shape):
    """Within 1e-3, near the latents' origin and far from it, where pixels saturate and a series ends."""
    data = images_of(shape)
    model = random_model(Config(**{"dataset": "tfds:noise", "latent_dim": 5, **fields}), data)
    page = visit(explorer_page(model, data))
    m = model.config.latent_dim
    z = np.random.default_rng(0).normal(size=(12, m)) * np.array([0.0, 0.1, 0.5, *[1.0] * 5, *[3.0] * 3, 20.0])[:, None]
    there = np.array([page.evaluate("z => Array.from(explorer.decode(z))", latent) for latent in z.tolist()])
    here = means(model, z.astype(np.float32))
    assert np.std(here) > 0.01
    assert np.max(np.abs(there - here.reshape(12, -1))) < 1e-3
    assert page.evaluate("explorer.difference()") < 1e-3
    assert page.evaluate("explorer.drawing?.difference() ?? 0") < 1e-3  # the encoder, at the first image


@pytest.fixture(scope="module")
def plane_model(digits):
    return random_model(Config(dataset="digits", latent_dim=2, hidden=(16, 16)), digits, spread=0.5)


@pytest.fixture(scope="module")
def plane_page(plane_model, digits):
    return explorer_page(plane_model, digits)


@pytest.fixture(scope="module")
def space_page(small, digits):
    return explorer_page(random_model(replace(small, latent_dim=5), digits, spread=0.5), digits)


@pytest.fixture(scope="module")
def small():
    return Config(dataset="digits", latent_dim=3, hidden=(16, 16))


def pixels(page, selector: str) -> np.ndarray:
    """Return the colours on a canvas."""
    url = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def drawn(page) -> str:
    """Return the map's picture."""
    return page.locator("#points").evaluate("canvas => canvas.toDataURL()")


def assert_probe_at(page, place) -> None:
    """Assert that the probe's latent is there, to within about a pixel of the map."""
    limits, width = page.evaluate("[explorer.map.limits, explorer.map.frame.width]")
    np.testing.assert_allclose(latent(page), place, atol=1.2 * (limits[0][1] - limits[0][0]) / width)


def on_screen(page, place) -> tuple[float, float]:
    """Return where a place of the map is on the screen."""
    box = page.locator("#plane").bounding_box()
    x, y = page.evaluate("([x, y]) => explorer.map.toPixels(x, y)", list(map(float, place)))
    # the map lies inside the plane's border
    return box["x"] + 1 + x, box["y"] + 1 + y


def toucher(page) -> Callable[[str, dict[int, tuple[float, float]]], None]:
    """Return a function that touches the map with numbered fingers, and waits for the drawing."""
    wire = page.context.new_cdp_session(page)

    def touch(kind: str, fingers: dict[int, tuple[float, float]]) -> None:
        places = {number: on_screen(page, place) for number, place in fingers.items()}
        points = [{"id": number, "x": x, "y": y} for number, (x, y) in places.items()]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        frame(page)

    return touch


def point(page, i: int) -> np.ndarray:
    return np.array(page.evaluate("i => [explorer.map.places[2 * i], explorer.map.places[2 * i + 1]]", i))


def latent(page) -> np.ndarray:
    return np.array(page.evaluate("Array.from(explorer.latent())"))


def outermost(page) -> int:
    """Return the point farthest from the middle: no other is under the pointer there."""
    places = np.array(page.evaluate("Array.from(explorer.map.places)")).reshape(-1, 2)
    return int(np.argmax(np.linalg.norm(places, axis=1)))


def test_hovering_shows_the_digit_of_a_point(visit, plane_page, plane_model):
    page = visit(plane_page)
    i = outermost(page)
    assert page.locator("#tip").is_hidden()
    page.mouse.move(*on_screen(page, point(page, i)))
    image = np.array(page.evaluate("i => Array.from(explorer.image(i))", i)).reshape(8, 8, 1)
    np.testing.assert_array_equal(pixels(page, "#tip canvas")[..., :1], image)
    np.testing.assert_array_equal(pixels(page, "#neighbour")[..., :1], image)
    name = page.evaluate("i => explorer.className(i)", i)
    assert page.locator("#tip").inner_text() == name
    assert page.locator("#class").inner_text() == f"Class {name}"
    np.testing.assert_array_equal(latent(page), [0, 0])  # nothing is dragged
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    assert page.locator("#distance").inner_text() == "nearest test image"


def test_dragging_decodes_live(visit, plane_page, plane_model):
    page = visit(plane_page)
    page.mouse.move(*on_screen(page, [0, 0]))
    page.mouse.down()
    seen = []
    for place in ([0.5, 0.2], [-1.0, 0.7], [0.3, -1.1]):
        page.mouse.move(*on_screen(page, place))
        frame(page)
        assert_probe_at(page, place)
        expected = 255 * means(plane_model, latent(page)[None].astype(np.float32))[0]
        seen.append(pixels(page, "#decoded"))
        assert np.max(np.abs(seen[-1] - expected)) < 0.51
        np.testing.assert_array_equal(pixels(page, "#tip canvas"), seen[-1])
        x, y = latent(page)
        assert page.locator("#numbers").inner_text() == f"z = ({x:.2f}, {y:.2f})".replace("-", "−")
    page.mouse.up()
    assert page.locator("#tip").is_hidden()
    page.mouse.move(*on_screen(page, [1, 1]))
    frame(page)
    assert_probe_at(page, [0.3, -1.1])
    assert np.any(seen[0] != seen[1])


def test_a_drag_out_of_the_map_stays_on_its_edge(visit, plane_page):
    page = visit(plane_page)
    page.mouse.move(*on_screen(page, [0, 0]))
    page.mouse.down()
    page.mouse.move(1, 1)
    frame(page)
    (left, _), (_, top) = page.evaluate("explorer.map.limits")
    np.testing.assert_allclose(latent(page), [left, top], rtol=1e-5)


def test_the_keyboard_does_all(visit, plane_page):
    page = visit(plane_page)
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "plane":
        page.keyboard.press("Tab")
    assert page.locator("#plane").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    (left, right), _ = page.evaluate("explorer.map.limits")
    step = (right - left) / 100
    for keys, moved in (
        (["ArrowRight"], [1, 0]),
        (["ArrowUp", "ArrowUp"], [1, 2]),
        (["Shift+ArrowLeft"], [-4, 2]),
        (["Shift+ArrowDown"], [-4, -3]),
    ):
        for key in keys:
            page.keyboard.press(key)
        frame(page)
        np.testing.assert_allclose(latent(page), np.array(moved) * step, atol=1e-5)
    assert page.evaluate("scrollY") == 0
    nearest = page.evaluate("explorer.neighbour")
    image = np.array(page.evaluate("i => Array.from(explorer.image(i))", nearest)).reshape(8, 8, 1)
    np.testing.assert_array_equal(pixels(page, "#neighbour")[..., :1], image)
    page.keyboard.press("Enter")
    frame(page)
    np.testing.assert_allclose(latent(page), point(page, nearest), atol=1e-6)
    name = page.evaluate("i => explorer.className(i)", nearest)
    playwright.expect(page.locator("#status")).to_have_text(
        re.compile(f"^Probe at .*; nearest test image: class {name}.$")
    )
    page.keyboard.press("Home")
    frame(page)
    np.testing.assert_array_equal(latent(page), [0, 0])
    page.keyboard.press("Alt+ArrowRight")  # the browser's
    frame(page)
    np.testing.assert_array_equal(latent(page), [0, 0])


@pytest.mark.parametrize("low", [-0.5, 0.9, -1004.0])
@pytest.mark.parametrize("length", [0.02, 0.4, 8.0, 3000.0])
def test_ticks_say_where_they_are_at_any_scale(visit, plane_page, low, length):
    page = visit(plane_page, viewport=NARROW)
    names, at, widest, frame, home = page.evaluate(
        """([low, high]) => {
          const { points, classes, prior, labels, canvas } = explorer.map, limits = [low, high];
          const map = new LatentMap(canvas, { points, classes, prior, labels, window: [limits, limits] });
          map.resize();
          const ticks = map.ticks[1], widths = ticks.map(({ text }) => canvas.getContext("2d").measureText(text).width);
          const { frame } = map, home = map.home();
          return [ticks.map(({ text }) => text), ticks.map(({ at }) => at), Math.max(...widths), frame, home];
        }""",
        [low, low + length],
    )
    assert len(names) >= 3
    np.testing.assert_array_equal([float(name.replace("−", "-")) for name in names], at)
    assert np.all((low <= np.array(at)) & (np.array(at) <= low + length))
    assert frame["width"] == pytest.approx(frame["height"])  # one scale for both axes
    assert frame["left"] - 8 - widest >= 21  # right of the axis's name
    assert home == [0 if low + length >= 0 >= low else pytest.approx(low + length / 2)] * 2


def test_the_map_is_square_in_a_low_window(visit, plane_page):
    box = visit(plane_page, viewport={"width": 900, "height": 300}).locator("#plane").bounding_box()
    assert box["width"] == box["height"] >= 256


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_finger_does_all(visit, plane_page, viewport):
    page = visit(plane_page, viewport=viewport, has_touch=True, is_mobile=True)
    page.locator("#plane").scroll_into_view_if_needed()
    page.touchscreen.tap(*on_screen(page, [0.5, 0.5]))
    frame(page)
    assert_probe_at(page, [0.5, 0.5])
    touch, scrolled = toucher(page), page.evaluate("scrollY")
    touch("touchStart", {0: (0.5, 0.5)})
    for place in ((0.2, 0.1), (0.0, -0.6), (-0.4, -1.0)):
        touch("touchMove", {0: place})
    assert_probe_at(page, [-0.4, -1.0])
    tip, finger = page.locator("#tip").bounding_box(), on_screen(page, [-0.4, -1.0])
    assert tip["y"] + tip["height"] < finger[1] - 40  # not under the finger
    page.wait_for_timeout(300)  # a resting finger does not fling, which would swallow the next tap
    touch("touchEnd", {})
    assert page.locator("#tip").is_hidden()
    assert page.evaluate("scrollY") == scrolled
    nearest = page.evaluate("explorer.neighbour")
    page.locator("#go").tap()
    there = point(page, nearest)
    for _ in range(40):  # a tap is a click as soon as it cannot become another gesture
        page.wait_for_timeout(50)
        if np.allclose(latent(page), there, atol=1e-6):
            break
    np.testing.assert_allclose(latent(page), there, atol=1e-6)


def test_a_second_finger_leaves_the_first_ones_drag_alone(visit, plane_page):
    page = visit(plane_page, has_touch=True)
    touch = toucher(page)
    touch("touchStart", {0: (0.5, 0.5)})
    touch("touchStart", {0: (0.5, 0.5), 1: (-0.5, 0.5)})
    touch("touchMove", {0: (0.5, 0.5), 1: (-0.7, 0.2)})
    assert_probe_at(page, [0.5, 0.5])
    touch("touchEnd", {1: (-0.7, 0.2)})
    assert page.locator("#tip").is_visible()
    touch("touchMove", {0: (0.1, -0.4)})
    assert_probe_at(page, [0.1, -0.4])
    touch("touchEnd", {0: (0.1, -0.4)})
    assert page.locator("#tip").is_hidden()
    touch("touchStart", {0: (-0.2, 0.3)})  # a new drag may begin
    assert_probe_at(page, [-0.2, 0.3])


def test_a_drag_is_its_pointers_own(visit, plane_page):
    """A mouse that moves and clicks during a finger's drag is a primary pointer too."""
    page = visit(plane_page, has_touch=True)
    toucher(page)("touchStart", {0: (0.5, 0.5)})
    mouse = "new PointerEvent(kind, { pointerId: 77, pointerType: 'mouse', isPrimary: true, button: 0, clientX: 300 })"
    for kind in ("pointermove", "pointerdown", "pointerup"):
        page.evaluate(f"kind => plane.dispatchEvent({mouse})", kind)
        frame(page)
        assert_probe_at(page, [0.5, 0.5])
        assert page.locator("#tip").is_visible()


def test_what_is_nearest_in_the_plane_alone_says_so(visit, plane_page, space_page):
    for content, said in ((plane_page, "nearest test image"), (space_page, "nearest in the plane")):
        page = visit(content)
        assert page.locator("#distance").inner_text() == said
        playwright.expect(page.locator("#status")).to_have_text(re.compile(f"; {said}: class "))


def test_one_class_is_not_named(visit, plane_model, digits):
    data = digits._replace(test_labels=np.zeros_like(digits.test_labels))
    page = visit(explorer_page(plane_model, data))
    assert page.locator("#legend").is_hidden()
    assert page.locator("#class").inner_text() == "A test image"
    page.mouse.move(*on_screen(page, point(page, 3)))
    frame(page)
    assert page.locator("#tip").is_visible()
    assert page.locator("#tip").inner_text() == ""
    playwright.expect(page.locator("#status")).to_have_text(re.compile("; nearest test image: a test image.$"))


def test_the_image_that_is_shown_is_the_one_to_decode(visit, plane_page):
    """With the keyboard, while the mouse rests on a point that is not the nearest."""
    page = visit(plane_page)
    i = outermost(page)
    page.locator("#go").focus()
    page.mouse.move(*on_screen(page, point(page, i)))
    assert page.evaluate("explorer.neighbour") != i
    page.keyboard.press("Enter")
    frame(page)
    np.testing.assert_allclose(latent(page), point(page, i), atol=1e-6)


def test_sliders_leave_the_plane_and_a_button_returns(visit, space_page):
    page = visit(space_page)
    axes = np.array(page.evaluate("Array.from(explorer.arrays.axes.numbers)")).reshape(5, 5)
    middle = latent(page)
    sliders = page.locator("#sliders input")
    assert sliders.count() == 3
    assert page.locator("#reset").is_disabled()
    sliders.nth(1).fill("0.25")
    frame(page)
    np.testing.assert_allclose(latent(page), middle + 0.25 * axes[3], atol=1e-6)
    page.mouse.click(*on_screen(page, [0.4, 0.3]))
    frame(page)
    moved = (latent(page) - middle) @ axes.T
    np.testing.assert_allclose(moved, [0.4, 0.3, 0, 0.25, 0], atol=0.02)
    np.testing.assert_allclose(moved[2:], [0, 0.25, 0], atol=1e-6)
    page.locator("#reset").click()
    frame(page)
    np.testing.assert_allclose((latent(page) - middle) @ axes.T, [*moved[:2], 0, 0, 0], atol=1e-6)
    assert page.locator("#reset").is_disabled()
    page.locator("#go").click()  # a test image's own latent lies off the plane
    frame(page)
    assert np.any(np.abs(((latent(page) - middle) @ axes.T)[2:]) > 0.01)


def test_a_class_can_be_seen_alone(visit, plane_page):
    page = visit(plane_page)
    labels = np.array(page.evaluate("Array.from(explorer.arrays.labels.numbers)"))
    before = drawn(page)
    button = page.get_by_role("button", name="class 3")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert drawn(page) != before
    assert labels[page.evaluate("explorer.neighbour")] == 3
    other = np.flatnonzero(labels != 3)[0]
    page.mouse.move(*on_screen(page, point(page, int(other))))
    hovered = page.evaluate("explorer.hovered ?? null")
    assert hovered is None or labels[hovered] == 3
    page.mouse.move(5, 5)
    button.click()
    assert drawn(page) == before


@pytest.mark.parametrize("m", [1, 3])
def test_a_class_without_a_shown_image_cannot_be_chosen(visit, small, digits, m):
    model = random_model(replace(small, latent_dim=m), digits)
    page = visit(explorer_page(model, digits, num_points=3))
    shown = {page.evaluate("i => explorer.className(i)", i) for i in range(3)}
    for name in map(str, range(10)):
        button = page.get_by_role("button", name=f"class {name}")
        assert button.is_enabled() == (name in shown)
        assert button.get_attribute("title") == (None if name in shown else "no test image of this class is shown")
        button.evaluate("button => button.click()")
        page.mouse.move(*on_screen(page, [0, int(name) / 10]))
        frame(page)
    assert page.evaluate("explorer.className(explorer.neighbour)") in shown
    assert page.locator("#legend button[aria-pressed=true]").count() == len(shown)
    assert page.evaluate("explorer.map.nearest([0, 0], () => false).point ?? null") is None


def test_the_prior_can_be_hidden(visit, plane_page):
    page = visit(plane_page)
    before = drawn(page)
    page.get_by_label("prior density").uncheck()
    assert drawn(page) != before
    page.get_by_label("prior density").check()
    assert drawn(page) == before


def test_a_line_is_explored_from_left_to_right(visit, small, digits):
    page = visit(explorer_page(random_model(replace(small, latent_dim=1), digits), digits))
    page.mouse.click(*on_screen(page, [0.5, 3]))
    frame(page)
    assert_probe_at(page, [0.5])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    frame(page)
    nearest = page.evaluate("explorer.neighbour")
    np.testing.assert_allclose(latent(page), point(page, nearest)[:1], atol=1e-6)


def test_colour_images_are_drawn_in_colour(visit):
    data = images_of((13, 10, 3))
    model = random_model(Config(dataset="tfds:noise", latent_dim=2, hidden=(16, 16)), data)
    page = visit(explorer_page(model, data))
    i = page.evaluate("explorer.neighbour")
    image = np.array(page.evaluate("i => Array.from(explorer.image(i))", i)).reshape(13, 10, 3)
    np.testing.assert_array_equal(pixels(page, "#neighbour"), image)


def test_every_control_has_a_name(visit, space_page):
    """Chromium's own accessibility tree."""
    page = visit(space_page)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"application", "button", "checkbox", "slider", "image", "group"}
    named = [(n["role"]["value"], n["name"]["value"]) for n in tree if n.get("role", {}).get("value") in roles]
    assert {role for role, _ in named} == roles
    assert all(name for _, name in named), named
    assert dict(named)["application"].startswith("Latent space: principal component 1 (")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_any_screen_and_is_legible(visit, space_page, viewport, scheme):
    page = visit(space_page, viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    for box in page.evaluate("[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().toJSON())"):
        assert box["width"] == 0 or (box["left"] >= 0 and box["right"] <= viewport["width"]), box
    paper, ink, muted = (page.evaluate(f"themed('--{name}')") for name in ("paper", "ink", "muted"))
    assert (luminance(paper) > 0.5) == (scheme == "light")
    for text in (ink, muted):
        bright, dark = sorted([luminance(paper), luminance(text)], reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
    height = page.locator("#plane").bounding_box()["height"]
    assert 300 <= height <= viewport["height"]


@pytest.mark.parametrize("m", [2, 10, 32])
def test_all_but_the_footer_fits_a_laptops_screen(visit, digits, m):
    page = visit(explorer_page(random_model(Config(dataset="digits", latent_dim=m, hidden=(16, 16)), digits), digits))
    assert page.locator("#sliders input").count() == min(m - 2, 8)
    assert page.evaluate("document.querySelector('main').getBoundingClientRect().bottom") <= WIDE["height"]


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_long_title_breaks_within_its_names(visit, viewport):
    name = "tfds:" + "_".join(["a_data_set"] * 20)
    data = images_of((8, 8, 1))._replace(name=name)
    page = visit(explorer_page(random_model(Config(dataset=name, **MLP), data), data), viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    breaks = """() => [...model.childNodes].filter(node => node.data && !node.data.includes(" ")).map(node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return range.getClientRects().length;
    })"""
    lines = page.evaluate(breaks)
    assert len(lines) > 50
    assert set(lines) == {1}  # no part of a name is torn


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG defines it."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_map_follows_the_windows_size_and_scheme(visit, plane_page):
    page = visit(plane_page)
    page.set_viewport_size(NARROW)
    frame(page)
    assert page.evaluate("explorer.map.width") < 360
    x, _ = on_screen(page, [page.evaluate("explorer.map.limits[0][1]"), 0])
    assert 300 < x < 360
    before = drawn(page)
    page.emulate_media(color_scheme="dark")
    frame(page)
    assert drawn(page) != before


def test_forced_colours_leave_the_classes_theirs_and_show_what_is_chosen(visit, plane_page):
    page = visit(plane_page)
    page.click("#legend button:nth-child(2)")
    page.evaluate("document.querySelector('#pen').classList.add('down')")
    read = """() => {
      const style = (place, part) => getComputedStyle(document.querySelector(place), part);
      const pressed = "#legend button:nth-child(2)", mode = "#modes label:has(:checked)";
      const coloured = [style(pressed, "::before"), style("#class", "::before"), style("#pen")];
      const outlined = [pressed, mode, "#draw-mode"].map((place) => style(place));
      return [coloured.map((one) => one.backgroundColor), outlined.map((one) => one.outlineStyle)];
    }"""
    colours, outlines = page.evaluate(read)
    assert outlines == ["none"] * 3
    page.emulate_media(forced_colors="active")
    assert page.evaluate(read) == [colours, ["solid", "solid", "none"]]


@pytest.mark.parametrize("fields", [{"hidden": (512, 512)}, CNN], ids=["mlp", "cnn"])
def test_decoding_keeps_up_with_a_pointer(visit, fields):
    """Well within a frame of 16 ms, even on a busy machine."""
    data = images_of((28, 28, 1))
    page = visit(explorer_page(random_model(Config(dataset="tfds:noise", latent_dim=10, **fields), data), data))
    timed = """() => {
        const z = explorer.latent(), times = [];
        for (let i = 0; i < 40; i++) {
            const start = performance.now();
            explorer.decode(z);
            times.push(performance.now() - start);
        }
        return Math.min(...times);
    }"""
    assert page.evaluate(timed) < 16


def test_an_old_browser_is_told(chromium, plane_page, tmp_path):
    (tmp_path / "page.html").write_text(plane_page, encoding="utf-8")
    with chromium.new_context() as context:
        context.add_init_script("delete window.DecompressionStream")
        page = context.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        page.get_by_text("This page could not be shown").wait_for(timeout=5000)
        assert not page.locator("main").is_visible()  # nothing is shown that does not work


def posterior(model, x: np.ndarray) -> np.ndarray:
    """Return what JAX encodes with the page's weights: loc and scale."""
    params, vae = with_page_weights(model).run_params(), model.recipe.model
    q = jax.jit(lambda params, x: vae.apply(params, x, method="posterior"))(params, x)
    return np.stack([q.mean()[0], q.stddev()[0]])


def encoded(page) -> np.ndarray:
    """Return the page's q(z|x) for the drawing on the pad."""
    return np.array(page.evaluate("['loc', 'scale'].map(name => Array.from(explorer.drawing.q[name]))"))


def seen(page, model) -> np.ndarray:
    """Return the page's pixels after the model's own transform: x[1, ...]."""
    image = np.array(page.evaluate("Array.from(explorer.drawing.image())"), np.uint8).reshape(1, *model.data_shape)
    return np.asarray(SEEN[model.recipe.transform][1](image), np.float32)


def choose(page, mode: str) -> None:
    page.locator(f"[name=mode][value={mode}]").check()
    frame(page)


def on_pad(page, x: float, y: float) -> tuple[float, float]:
    """Return where a share of the pad's width and height is on the screen."""
    box = page.locator("#pad").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


SEVEN = ((0.3, 0.2), (0.6, 0.22), (0.5, 0.5), (0.45, 0.7))


def draw(page, places=SEVEN) -> None:
    """Draw with the mouse."""
    page.mouse.move(*on_pad(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*on_pad(page, *place), steps=3)
    page.mouse.up()
    frame(page)


ENCODED = [({**MLP, "decoder": "gaussian"}, (9, 14)), ({**MLP, "precision": "bfloat16"}, (8, 8, 1))]
ENCODED += [({**MLP, "levels": 2, "upper_dim": 2, "binarise": "stochastic"}, (8, 8, 1))]
ENCODED += [({**CNN, "channels": (4, 6, 8), "activation": "silu"}, (13, 10, 1)), ({**CNN}, (28, 28, 1))]
ENCODED += [({**CNN, "channels": (8,), "decoder": "continuous-bernoulli", "latent_dim": 1}, (9, 7, 1))]


@pytest.mark.parametrize(("fields", "shape"), ENCODED, ids=name_of)
def test_the_browser_encodes_what_jax_encodes(visit, fields, shape):
    """Within 1e-3, with the page's weights; the probe is at the mean, decoded as the reconstruction."""
    data = images_of(shape)
    model = random_model(Config(**{"dataset": "tfds:noise", "latent_dim": 3, **fields}), data)
    page = visit(explorer_page(model, data))
    choose(page, "draw")
    draw(page)
    x = seen(page, model)
    assert 0.01 < np.mean(x) < 0.9
    np.testing.assert_array_equal(pixels(page, "#sight canvas")[..., 0], np.round(255 * x.reshape(shape[:2])))
    expected = posterior(model, x)
    np.testing.assert_allclose(encoded(page), expected, atol=1e-3)
    np.testing.assert_allclose(latent(page), expected[0], atol=1e-3)
    assert np.std(expected) > 0.01
    assert page.locator("#decoded-name").inner_text() == "Reconstruction"


def test_a_finger_draws(visit, plane_page, plane_model):
    page = visit(plane_page, viewport=NARROW, has_touch=True, is_mobile=True)
    choose(page, "draw")
    page.locator("#pad").scroll_into_view_if_needed()
    scrolled, wire = page.evaluate("scrollY"), page.context.new_cdp_session(page)
    for kind, places in (("touchStart", SEVEN[:1]), *(("touchMove", [place]) for place in SEVEN[1:]), ("touchEnd", [])):
        points = [dict(zip("xy", on_pad(page, *place), strict=True)) for place in places]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        frame(page)
    assert page.evaluate("scrollY") == scrolled
    assert page.evaluate("explorer.drawing.pad.marks.length") == 1
    np.testing.assert_allclose(encoded(page), posterior(plane_model, seen(page, plane_model)), atol=1e-3)
    page.wait_for_timeout(500)  # as a finger needs to the button: Chromium ignores some taps right after a stroke
    page.locator("#undo").tap()
    playwright.expect(page.locator("#undo")).to_be_disabled()
    assert page.evaluate("explorer.drawing.pad.blank")


def test_the_keyboard_draws_erases_and_takes_back(visit, plane_page, plane_model):
    page = visit(plane_page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "mode"
    page.keyboard.press("ArrowRight")
    frame(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    assert page.locator("#pad").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    for key in ("ArrowUp", "ArrowUp", " ", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", " ", "ArrowLeft"):
        page.keyboard.press(key)
    frame(page)
    ink = pixels(page, "#pad canvas")[..., 0]
    assert ink[2, 5] == ink[5, 5] == 255
    assert ink[5, 2] == 0
    np.testing.assert_allclose(encoded(page), posterior(plane_model, seen(page, plane_model)), atol=1e-3)
    place = page.evaluate("explorer.drawing.pad.at")
    for key in ("Control+ArrowLeft", "Alt+ArrowLeft"):  # the browser's
        page.keyboard.press(key)
    assert page.evaluate("explorer.drawing.pad.at") == place
    for _ in range(4):  # a key that is held down repeats
        page.keyboard.down(" ")
    assert page.evaluate("explorer.drawing.pad.down")
    page.keyboard.up(" ")
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(pixels(page, "#pad canvas")[..., 0], ink)
    page.keyboard.press("Delete")
    frame(page)
    assert np.all(pixels(page, "#pad canvas")[..., 0] == 0)
    assert page.evaluate("explorer.drawing.q ?? null") is None
    page.keyboard.press("Backspace")  # undoes the clearing
    frame(page)
    np.testing.assert_array_equal(pixels(page, "#pad canvas")[..., 0], ink)
    page.locator("#edit").focus()
    page.keyboard.press("Enter")
    frame(page)
    assert not page.locator("#centre").is_checked()
    nearest = np.array(page.evaluate("Array.from(explorer.drawing.image())")).reshape(8, 8)
    images = np.array(page.evaluate("Array.from(explorer.arrays.images.numbers)")).reshape(-1, 8, 8)
    assert any(np.array_equal(nearest, image) for image in images)  # to the pixel
    page.locator("#eraser").focus()
    page.keyboard.press("Enter")
    assert page.locator("#eraser").get_attribute("aria-pressed") == "true"
    draw(page, ((0.0, 0.5), (1.0, 0.5)))
    assert np.all(pixels(page, "#pad canvas")[4, :, 0] <= 1)
    assert np.any(pixels(page, "#pad canvas")[0, :, 0] > 0)
    np.testing.assert_allclose(encoded(page), posterior(plane_model, seen(page, plane_model)), atol=1e-3)


def test_drawings_are_laid_as_the_images_are(visit, plane_page):
    """At any place and size: scaled to MNIST's box of 20 pixels, with the centre of mass in the middle."""
    page = visit(plane_page)
    laid = """([scale, x, y]) => {
        const points = [[3, 2], [9, 3], [8, 9], [5, 14], [4, 5]].map(([u, v]) => [scale * u + x, scale * v + y]);
        const pixels = renderCentred([{ points }], [28, 28], 2.5, { box: 20, middle: [14.5, 14.5] });
        return Array.from(pixels);
    }"""
    drawings = [np.array(page.evaluate(laid, at)).reshape(28, 28) for at in ([1, 0, 0], [1.6, 3, 1], [0.5, 20, 15])]
    for pixels_ in drawings:
        rows, columns = np.nonzero(pixels_ >= 0.5)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        mass = [np.sum(pixels_ * (grid + 0.5)) / np.sum(pixels_) for grid in np.indices((28, 28))]
        np.testing.assert_allclose(mass, 14.5, atol=0.15)
        assert np.mean(np.abs(pixels_ - drawings[0])) < 0.03
    dot = page.evaluate("Array.from(renderCentred([{ points: [[2, 3]] }], [8, 8], 1, { box: 6, middle: [4, 4] }))")
    assert 0.5 < np.sum(dot) < 2


def test_the_ellipses_are_the_posteriors(visit, space_page):
    """They show its covariance in the plane; after the probe was moved, a button returns it to the mean."""
    page = visit(space_page)
    choose(page, "draw")
    assert page.locator(".posterior").is_hidden()
    draw(page)
    loc, scale = encoded(page)
    axes = np.array(page.evaluate("Array.from(explorer.arrays.axes.numbers)")).reshape(5, 5)
    there = np.array(page.evaluate("explorer.covariance(explorer.drawing.q.scale)"))
    np.testing.assert_allclose(there, (axes[:2] * scale**2) @ axes[:2].T, rtol=1e-4)
    variances, vectors = np.linalg.eigh(there)
    radii = page.locator(".posterior .two").get_attribute("d").split()[4:6]
    unit = page.evaluate("explorer.map.frame.width / (explorer.map.limits[0][1] - explorer.map.limits[0][0])")
    np.testing.assert_allclose(np.float64(radii), np.maximum(2 * np.sqrt(variances[::-1]) * unit, 1.5), rtol=1e-4)
    angle = float(re.search(r"rotate\((.*)\)", page.locator(".posterior").get_attribute("transform"))[1])
    assert np.tan(np.radians(-angle)) == pytest.approx(vectors[1, 1] / vectors[0, 1], rel=1e-3)
    assert page.locator("#to-mean").is_disabled()
    page.mouse.click(*on_screen(page, [0.4, 0.3]))
    frame(page)
    assert page.locator("#decoded-name").inner_text() == "Decoded"
    page.locator("#to-mean").click()
    frame(page)
    np.testing.assert_allclose(latent(page), loc, atol=1e-5)
    playwright.expect(page.locator("#status")).to_have_text(re.compile("^Your drawing's mean at "))


def test_two_images_are_interpolated(visit, space_page, small, digits):
    """By clicks and by keyboard, along the straight line between their posterior means."""
    page = visit(space_page)
    choose(page, "interpolate")
    places = np.array(page.evaluate("Array.from(explorer.map.places)")).reshape(-1, 2)
    a, b = (int(np.argmin(places @ way)) for way in ([1, 0], [-1, 0]))
    page.mouse.click(*on_screen(page, places[a]))
    frame(page)
    page.locator("#plane").focus()
    for _ in range(25):  # to the right edge, and from there to the dot at its height
        page.keyboard.press("Shift+ArrowRight")
    frame(page)
    b = page.evaluate("explorer.neighbour")
    page.keyboard.press("Enter")
    frame(page)
    assert page.evaluate("explorer.interpolation.points") == [a, b]
    rounded = with_page_weights(random_model(replace(small, latent_dim=5), digits, spread=0.5))
    images = np.array([page.evaluate("i => Array.from(explorer.image(i))", i) for i in (a, b)], np.uint8)
    start, end = encode(rounded, images.reshape(2, 8, 8, 1), jax.random.key(0)).loc
    np.testing.assert_allclose(latent(page), end, atol=1e-4)
    for share in (0.25, 0.5):
        page.locator("#share").fill(str(share))
        frame(page)
        np.testing.assert_allclose(latent(page), (1 - share) * start + share * end, atol=1e-4)
    strip = np.stack([pixels(page, f"#strip canvas:nth-child({i + 1})")[..., :1] for i in range(9)])
    line = np.linspace(start, end, 9)
    assert np.max(np.abs(strip - 255 * np.asarray(decode(rounded, line)))) < 0.6
    np.testing.assert_array_equal(pixels(page, "#decoded"), pixels(page, "#strip canvas:nth-child(5)"))
    for end_, i in zip(range(2), (a, b), strict=True):
        canvas = f".end:nth-of-type({(2, 5)[end_]}) canvas"
        assert page.evaluate("i => explorer.imageName(i)", i) in page.locator(canvas).get_attribute("aria-label")
    page.locator("#strip canvas:nth-child(1)").click()
    frame(page)
    np.testing.assert_allclose(latent(page), start, atol=1e-4)


def test_a_page_that_cannot_encode_has_no_pad_and_says_so(visit, plane_model, digits):
    foreign = plane_model._replace(recipe=plane_model.recipe._replace(transform=lambda key, images: images / 255))
    page = visit(explorer_page(foreign, digits))
    assert page.locator("#draw-mode").is_hidden()
    assert "Drawing is not available: it does not support the model's transform" in page.locator("#about").inner_text()
    choose(page, "interpolate")
    assert page.locator("#strip").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800, 390])
def test_every_way_fits_and_clips_nothing(visit, space_page, width, scheme):
    page = visit(space_page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    clipped = """() => [...document.querySelectorAll("button, label, p, strong, span, output, figcaption, legend")]
        .filter(e => e.checkVisibility() && !e.matches("#status, #modes legend") && e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).display !== "inline").map(e => e.outerHTML)"""
    for mode in ("explore", "draw", "interpolate"):
        choose(page, mode)
        if mode == "draw":
            draw(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = page.evaluate("[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().toJSON())")
        assert all(box["width"] == 0 or (box["left"] >= 0 and box["right"] <= width) for box in boxes)
        assert page.evaluate(clipped) == []


@pytest.mark.parametrize("m", [2, 10])
def test_the_kept_pages_are_small_and_draw(visit, m):
    content = (Path(__file__).parents[2] / f"experiments/report/explorer-{m}.html").read_text(encoding="utf-8")
    assert len(content.encode()) <= 2e6
    page = visit(content)
    assert "in a box of 20 pixels, with the centre of mass in the middle" in page.locator("#rule").text_content()
    assert max(page.evaluate("[explorer.difference(), explorer.drawing.difference()]")) < 1e-3
    choose(page, "draw")
    draw(page)
    assert encoded(page).shape == (2, m)
