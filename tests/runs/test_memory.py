"""How much memory there is and is needed, and what is chosen or refused under a made-up limit. None is filled."""

import resource
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import jvae, random_model, refused, rest_slow

from jvae.cli.commands import Commands
from jvae.errors import NotEnoughMemoryError, is_out_of_memory
from jvae.runs import api, memory, portions
from jvae.runs.checkpoint import run_shapes
from jvae.runs.config import Config, build_recipe
from jvae.runs.ensemble import Together
from jvae.training import Batch, init_state, make_train_step

GIB = 2**30
QUICK = {"dataset": "digits", "latent_dim": 2, "epochs": 1, "batch_size": 32, "hidden": (8, 8)}


def system_with(root: Path, files: dict[str, object]) -> Path:
    """Simulate a system that describes itself in these files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


FREE = {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:    8000 kB"}
V2 = {"proc/self/cgroup": "0::/job/step"}
V1 = {"proc/self/cgroup": "5:cpu:/x\n4:memory:/job\n0::/"}


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (FREE, 8_192_000),
        ({**FREE, **V2, "sys/fs/cgroup/job/step/memory.max": "max"}, 8_192_000),
        ({**FREE, **V2, "sys/fs/cgroup/job/memory.max": 5000, "sys/fs/cgroup/job/memory.current": 4000}, 1000),
        (
            {
                **V2,
                "sys/fs/cgroup/memory.max": 5000,  # the group's own, as a container sees it
                "sys/fs/cgroup/memory.current": 4000,
                "sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 3000",
            },
            4000,
        ),
        (
            {
                **FREE,
                **V1,
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": 700,
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": 900,
            },
            0,
        ),
    ],
)
def test_the_least_of_all_limits_counts(files, left, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "process_bytes", lambda root: iter(()))
    assert memory.host_bytes(system_with(tmp_path, files)) == left


def test_the_process_own_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10_000_000, resource.RLIM_INFINITY))
    system_with(tmp_path, {**FREE, "proc/self/statm": "1000 5 5"})
    assert memory.host_bytes(tmp_path) == min(8_192_000, 10_000_000 - 1000 * resource.getpagesize())


def test_there_is_memory_here():
    assert 0 < memory.available_bytes() < 2**60


def test_the_most_that_is_alive_at_once_is_counted():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    need = lambda f: memory.program_bytes(jax.jit(f).trace(x)) / 4000  # noqa: E731  in vectors
    assert need(lambda x: x + 1) == 2
    assert need(lambda x: jnp.sin(jnp.cos(jnp.sin(x)))) == 3  # the input is no longer needed
    assert need(lambda x: x * jnp.sin(x) * jnp.cos(x)) == 4
    outer = need(lambda x: jnp.sum(x[:, None] * x[None]))
    assert 1001 < outer < 1005
    loop = need(lambda x: jax.lax.scan(lambda c, _: (c, jnp.sin(c)), x, length=50)[1])
    assert 51 < loop < 56  # the stacked results, not 50 times the loop's inside
    assert need(lambda x: jax.lax.fori_loop(0, 50, lambda i, c: jnp.sin(c), x)) < 5


def one_step(config: Config, draws: int | None = None):
    recipe = build_recipe(config, (8, 8, 1))
    state = init_state(recipe, jax.random.key(1), (8, 8, 1))
    images = np.random.default_rng(0).integers(0, 256, (config.batch_size, 8, 8, 1), np.uint8)
    return make_train_step(recipe, draws), (state, jax.random.key(2), Batch(jnp.asarray(images), jnp.ones(len(images))))


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_how_many_runs_are_evaluated_together_follows_an_accelerators_memory(tiny, monkeypatch, bound):
    """All in one program, or half of them, and so on; one after another on a CPU, always with the same results."""
    one = random_model(Config(**QUICK), tiny)
    runs = [jax.tree.map(lambda leaf: leaf * (1 + i / 10), one.params) for i in range(5)]  # noqa: B023
    params = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *runs)
    model = one._replace(params=params, plan=one.plan._replace(seeds=tuple(range(5))))
    draws = {"num_samples": 4, "iwae": 3 if bound == "iwae" else None}
    alone = api.evaluate(model, tiny, **draws)
    portion = {"elbo": portions.elbo_portion, "iwae": portions.iwae_portion}[bound]
    given = (model.recipe, model.params, tiny.test_images, 4, 5)
    assert portion(*given).runs == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = []
    for available in (10**8 / 1.5**i for i in range(14)):
        monkeypatch.setattr(memory, "available_bytes", lambda: available)  # noqa: B023
        found.append(portion(*given).runs)
    assert list(dict.fromkeys(found)) == [5, 2, 1]
    chosen = portion(*given)
    for runs in (5, 2):
        monkeypatch.setattr(portions, "choose", lambda *a, **k: chosen._replace(runs=runs))  # noqa: B023
        seen = []
        together = api.evaluate(model, tiny, **draws, progress=seen.append)
        assert bound == "elbo" or seen[-1] == 5 * len(tiny.test_images)
        for mine, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4)


@pytest.mark.slow
def test_the_estimate_is_near_the_compilers_figure(optimised):
    step, arguments = one_step(Config(**{**QUICK, "hidden": (64, 64)}, num_samples=50, bound="iwae"))
    traced = jax.jit(step).trace(*arguments)
    assert 0.5 < memory.program_bytes(traced) / memory.compiled_bytes(traced) < 4


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_draws_some_at_a_time_have_the_gradient_of_all(bound):
    config = Config(**QUICK, num_samples=7, bound=bound)
    (step, arguments), (cut, _) = one_step(config), one_step(config, 3)
    all_, some = step(*arguments), cut(*arguments)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5), some, all_)


def test_the_first_that_leaves_half_is_chosen_or_the_last_that_fits(monkeypatch):
    monkeypatch.setattr(memory, "program_bytes", lambda size: size)
    chosen = {}
    for available in (200, 30, 15, 10):
        monkeypatch.setattr(memory, "available_bytes", lambda: available)  # noqa: B023
        chosen[available] = memory.choose([100, 50, 10], lambda size: size, "it")
    assert chosen == {200: 100, 30: 10, 15: 10, 10: 10}
    monkeypatch.setattr(memory, "available_bytes", lambda: 9)
    monkeypatch.setattr(memory, "compiled_bytes", lambda size: 9)  # the compiler needs less than estimated
    assert memory.choose([100, 10], lambda size: size, "it") == 10
    monkeypatch.setattr(memory, "compiled_bytes", lambda size: 10)
    with pytest.raises(NotEnoughMemoryError, match=r"^it needs .* GiB of memory: .* GiB are available$"):
        memory.choose([100, 10], lambda size: size, "it")
    monkeypatch.setattr(memory, "available_bytes", lambda: 200)
    assert memory.choose([100, 10], lambda size: size, "it", agree=lambda place: 1) == 10  # like another process


def made_needs(monkeypatch, call) -> list[int]:
    """Return what every candidate size needs, recorded while nothing fits."""
    needs, count = [], memory.program_bytes
    monkeypatch.setattr(memory, "available_bytes", lambda: 1)
    monkeypatch.setattr(memory, "program_bytes", lambda traced: needs.append(count(traced)) or needs[-1])
    with pytest.raises(NotEnoughMemoryError):
        call()
    monkeypatch.setattr(memory, "program_bytes", count)
    return needs


class Chosen(Exception):  # noqa: N818
    """The chosen size; raised to end the training."""


def chosen_by(config: Config, data) -> Together:
    def end(at_a_time: Together) -> None:
        raise Chosen(at_a_time)

    with pytest.raises(Chosen) as caught:
        api.train_config_epochs(config, data, how=api.Conditions(stream=False, chosen=end))
    return caught.value.args[0]


@pytest.mark.slow
def test_runs_are_taken_together_as_the_memory_allows(tiny, monkeypatch):
    config = Config(**QUICK, runs=6, num_samples=10)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    needs = made_needs(monkeypatch, lambda: chosen_by(config, tiny))
    assert len(needs) == 4  # 6, 3 or 1 run, and one draw of one
    assert needs == sorted(needs, reverse=True)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * needs[1])
    assert chosen_by(config, tiny) == Together(3)


@pytest.mark.slow
def test_a_training_of_many_draws_is_cut(tiny, monkeypatch):
    config = Config(**QUICK, num_samples=100, validation="test")
    needs = made_needs(monkeypatch, lambda: chosen_by(config, tiny))
    assert needs[0] > 5 * needs[1]
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * needs[1])
    assert chosen_by(config, tiny) == Together(1, 10)


@pytest.mark.parametrize(
    "options",
    rest_slow([["--latent-dim", 4096, "--hidden-dim", 65536], ["--runs", 10_000], ["--num-samples", 10_000]]),
    ids=str,
)
@pytest.mark.parametrize("command", rest_slow(["train", "benchmark"]))
def test_what_cannot_fit_is_refused_before_anything_is_made(command, options, tmp_path, monkeypatch):
    if command == "benchmark" and options[0] == "--num-samples":
        options = ["--batch-sizes", 1000, *options]
    limit = GIB // 8 if options[0] == "--runs" else GIB // 500
    monkeypatch.setattr(memory, "available_bytes", lambda: limit)
    monkeypatch.setattr(memory, "compiled_bytes", lambda traced: pytest.fail("compiled"))
    monkeypatch.setattr("jvae.runs.ensemble.init_state", lambda *a, **k: pytest.fail("computed"))
    model = ["--model", tmp_path / "m.npz"] if command == "train" else []
    *_, line = jvae(command, "--dataset", "digits", *model, *options, code=1).stderr.splitlines()
    assert line.startswith("jvae: error: ")
    assert line.count(" GiB") == 2
    assert ("runs would fit" in line) == (options[0] == "--runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_evaluation_is_cut_to_the_memory(tiny, monkeypatch):
    """Fewer draws at a time give the same draws; fewer images at a time give others of the same distribution."""
    model = random_model(Config(**QUICK), tiny)
    whole = api.evaluate(model, tiny, 10, iwae=120)[0]
    for sizes in ((portions.Portion(30, 1),) * 2, (portions.Portion(10, 1), portions.Portion(10, 10))):
        choose = iter(sizes)
        monkeypatch.setattr(portions, "choose", lambda *a, **k: next(choose))  # noqa: B023
        cut = api.evaluate(model, tiny, 10, iwae=120)[0]
        same = sizes[0].batch_size == 30
        for mine, theirs in ((cut.elbo, whole.elbo), (cut.importance.iwae, whole.importance.iwae)):
            bound = 1e-4 if same else 5 * np.hypot(mine.monte_carlo_error, theirs.monte_carlo_error)
            assert abs(mine.value - theirs.value) <= bound
            assert (mine.value == theirs.value) is False or same


@pytest.mark.slow
def test_what_is_evaluated_at_a_time_follows_the_memory(tiny, monkeypatch):
    recipe = build_recipe(Config(**QUICK), (64, 64, 3))
    params = run_shapes(recipe, (64, 64, 3), 1).params
    data = np.broadcast_to(np.zeros(1, np.uint8), (3000, 64, 64, 3))
    found = []
    for available in (10**12, 8 * 10**8, 3 * 10**8, 10**7):
        monkeypatch.setattr(memory, "available_bytes", lambda: available)  # noqa: B023
        found.append(portions.iwae_portion(recipe, params, data, 5000))
    assert found[0] == (100, 100, 1)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 4
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**12)
    assert portions.elbo_portion(recipe, params, data, 10) == (500, 2, 1)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    assert portions.encoding_batch(recipe, one, data, 0) == 1000


@pytest.mark.slow
def test_a_sweep_takes_its_cells_in_parts(tiny, tmp_path, monkeypatch):
    common = ["--dataset", "digits", "--epochs", 1, "--batch-size", 700, "--hidden", "8", "--latent-dim", 2]
    counts, real = [], memory.choose

    def choose(sizes, trace, what, *rest):
        counts.append(what)
        if what == "the training of 2 runs":
            raise NotEnoughMemoryError("too much")
        return real(sizes, trace, what, *rest)

    monkeypatch.setattr("jvae.runs.training.choose", choose)
    jvae("sweep", *common, "--grid", "learning-rate=0.001,0.01", "--output", tmp_path / "s")
    assert counts == ["the training of 2 runs", "the training", "the training"]
    assert len(list((tmp_path / "s").glob("learning-rate=*.npz"))) == 2


@pytest.mark.slow
def test_many_draws_of_large_images_are_refused_as_arrays(tiny, tmp_path, monkeypatch):
    from jvae.runs.checkpoint import save

    save(tmp_path / "m.npz", random_model(Config(**QUICK), tiny))
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**7)
    given = ["--model", tmp_path / "m.npz", "--samples", tmp_path / "x.npy"]
    assert "--num-images 1000000" in refused("sample", *given, "--num-images", 10**6, code=1)
    assert not (tmp_path / "x.npy").exists()


@pytest.mark.parametrize("error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")])
def test_memory_that_runs_out_nevertheless_is_one_line(error, capsys):
    group = Commands("group")

    @group.command()
    def fill() -> None:
        raise error

    with pytest.raises(SystemExit, match="1"):
        group.main(["fill"], prog_name="jvae")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jvae: error: ")
    assert is_out_of_memory(error)
    assert not is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: else"))
