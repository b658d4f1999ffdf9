"""Grids of configurations: what is trained together, what is kept, and what a failure affects."""

import contextlib
import csv
import json
import math

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from jvae.cli.main import main
from jvae.cli.sweep import describe
from jvae.errors import JvaeError, NonFiniteError, NotEnoughMemoryError
from jvae.evaluation import spread
from jvae.files import write_json
from jvae.runs import api, grid, sweep, training
from jvae.runs.checkpoint import load
from jvae.runs.config import Config
from jvae.runs.fields import text_of
from jvae.view import pictures

COMMON = {"dataset": "digits", "latent_dim": 2, "epochs": 2, "batch_size": 32, "hidden": (8, 8), "runs": 2}


def cells(*texts, **more) -> list[grid.Cell]:
    return grid.cells_of({**Config().to_dict(), **COMMON, **more}, grid.parse_grid(texts))


class Recorder(contextlib.nullcontext):
    """A watcher that records its calls."""

    def __init__(self, group) -> None:
        super().__init__(self)
        self.group, self.chunks, self.records = group, [], []
        self.chunk, self.epoch = self.chunks.append, self.records.append


def test_the_records_of_several_trainings_are_one():
    one = {"epoch": 2, "bound": -1.0, "seconds": 1.0}
    two = {"epoch": 2, "bound": [-2.0, None], "seconds": 2.0}
    stopped = {"epoch": 1, "bound": -9.0, "seconds": 5.0}
    assert sweep.join_records([one, stopped]) == one
    assert sweep.join_records([one, two, stopped]) == {"epoch": 2, "bound": [-1.0, -2.0, None], "seconds": 3.0}


def test_a_grid_is_every_combination_with_values_of_the_right_type():
    assert grid.parse_grid(["latent-dim=2,3", "beta=1,0.5", "dequantise=no"]) == {
        "latent_dim": (2, 3),
        "beta": (1.0, 0.5),
        "dequantise": (False,),
    }
    found = cells("latent-dim=2,3", "beta=1,0.5")
    assert [(c.config.latent_dim, c.config.beta) for c in found] == [(2, 1.0), (2, 0.5), (3, 1.0), (3, 0.5)]
    assert found[1].name == "latent-dim=2,beta=0.5"


def test_a_field_that_means_nothing_in_a_cell_is_left_out_there():
    found = cells("prior=gaussian,mog", "num-components=3,4", hidden=(8, 8))
    assert [c.name for c in found] == ["prior=gaussian", "prior=mog,num-components=3", "prior=mog,num-components=4"]
    assert cells("network=cnn,mlp", hidden=(8, 8))[0].config.hidden == Config().hidden
    fixed = cells("decoder=bernoulli,gaussian", variance="fixed", output_scale=0.2, hidden=(8, 8))
    assert [c.config.output_scale for c in fixed] == [Config().output_scale, 0.2]


def test_a_varied_field_that_means_nothing_in_any_cell_is_refused():
    with pytest.raises(ValueError, match="variance is fixed,scalar: applies in no cell"):
        cells("variance=fixed,scalar")


def test_all_cells_are_evaluated_on_one_test_set():
    """Stochastic binarisation draws the test set's pixels, which a Gaussian output would then be judged by."""
    for order in ("bernoulli,gaussian", "gaussian,bernoulli"):
        with pytest.raises(ValueError, match="binarise is stochastic: applies in some cells only"):
            cells(f"decoder={order}", binarise="stochastic")
    assert len(cells("prior=gaussian,mog", binarise="stochastic")) == 2


def test_the_numbers_of_a_value_are_joined_by_an_x():
    found = cells("hidden=8x8,16x8x4,4")
    assert [cell.config.hidden for cell in found] == [(8, 8), (16, 8, 4), (4,)]
    assert [cell.name for cell in found] == ["hidden=8x8", "hidden=16x8x4", "hidden=4"]
    assert grid.parse_grid(["hidden-dim=8,16"]) == {"hidden": ((8, 8), (16, 16))}
    rows = sweep.table([sweep.Result(cell, "nats", [{"seed": 0}]) for cell in found]).splitlines()
    assert [row.split(",")[0] for row in rows] == ["hidden", "8x8", "16x8x4", "4"]
    assert sweep.summary([sweep.Result(found[1], "nats", [], "failed")])[0]["settings"] == {"hidden": (16, 8, 4)}


def test_the_files_of_long_cells_have_names_that_fit():
    deep = "x".join(["512"] * 70)
    found = cells(f"hidden={deep},{deep}x4,8")
    assert [len(cell.name) > 255 for cell in found] == [True, True, False]
    assert all(len(cell.stem) <= 128 for cell in found)
    assert len({cell.stem for cell in found}) == 3
    assert found[2].stem == found[2].name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden=8x", r"grid is 'hidden=8x': hidden is '8x': must be whole numbers"),
        ("hidden-dim=", r"grid is 'hidden-dim=': must be NAME=VALUE"),
        ("prior=square", r"grid is 'prior=square': prior is 'square': must be one of gaussian"),
        ("latent-dim=two", r"grid is 'latent-dim=two': latent-dim is 'two': must be a whole number"),
        ("latent-dim=0", r"latent-dim is 0: must be at least 1"),
        ("latent-dims=2", r"must be NAME=VALUE,VALUE,... with an option of `jvae train` other than dataset, "),
        ("runs=2", r"other than dataset, test-share, .*, runs"),
        ("prior", r"grid is 'prior': must be NAME=VALUE"),
        ("prior=", r"grid is 'prior=': must be NAME=VALUE"),
        ("prior=mog,", r"grid is 'prior=mog,': prior is '': must be one of gaussian"),
        ("prior=mog,flow,mog", r"grid is 'prior=mog,flow,mog': a value comes twice"),
        ("beta=1,0.5,1.0", r"grid is 'beta=1,0.5,1.0': a value comes twice"),
        ("hidden-dim=8,16,8", r"grid is 'hidden-dim=8,16,8': a value comes twice"),
        ("hidden-dim=8x4", r"grid is 'hidden-dim=8x4': must be NAME=VALUE"),
        ("hidden-dim=8,", r"grid is 'hidden-dim=8,': must be NAME=VALUE"),
    ],
)
def test_a_wrong_grid_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        grid.parse_grid([text])
    with pytest.raises(ValueError, match="beta comes twice"):
        grid.parse_grid(["beta=1", "beta=2"])


def test_no_run_is_in_two_cells():
    with pytest.raises(ValueError, match=r"^runs is 2: with seeds 4 and 5 in the grid, seed 5 comes twice$"):
        cells("seed=5,1,4")
    assert len(cells("seed=5,1,3")) == 3


def test_cells_that_differ_in_traced_fields_share_a_program():
    found = cells("latent-dim=2,3", "beta=1,0.5", "learning-rate=0.01,0.001")
    groups = sweep.groups_of(found)
    assert [len(group) for group in groups] == [4, 4]
    assert [{cell.config.latent_dim for cell in group} for group in groups] == [{2}, {3}]


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("schedule", [{}, {"schedule": "cosine", "warmup": 0.5, "kl_warmup": 1.0}], ids=str)
def test_a_cell_among_others_is_the_training_of_its_configuration(schedule, tiny):
    """Bit by bit, although step size and beta are arguments of the program."""
    found = cells("beta=1,0.25", "learning-rate=0.01,0.001", **schedule)
    *_, together = api.train_configs([cell.config for cell in found], tiny)
    for cell, mine in zip(found, together, strict=True):
        *_, alone = api.train_config_epochs(cell.config, tiny)
        assert mine.config == cell.config
        jax.tree.map(np.testing.assert_array_equal, mine.state.runs, alone.state.runs)
        assert [record["bound"] for record in mine.history] == [record["bound"] for record in alone.history]
    first, *others = (
        np.asarray(model.run_params()["params"]["encoder"]["net"]["linear_0"]["bias"]) for model in together
    )
    assert all(not np.array_equal(first, other) for other in others)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_a_configuration_that_fails_fails_alone(tiny):
    found = cells("learning-rate=0.01,1e30,0.001")
    *_, together = api.train_configs([cell.config for cell in found], tiny)
    assert isinstance(together[1], NonFiniteError)
    assert "seed 0 is not finite at epoch 1" in str(together[1])
    for i in (0, 2):
        *_, alone = api.train_config_epochs(found[i].config, tiny)
        jax.tree.map(np.testing.assert_array_equal, together[i].state.runs, alone.state.runs)


def test_configurations_that_differ_in_more_are_refused(tiny):
    with pytest.raises(ValueError, match="the configurations differ in more than seed, learning_rate, beta"):
        api.train_configs([cell.config for cell in cells("latent-dim=2,3")], tiny)


@pytest.mark.slow
def test_a_cell_that_cannot_be_evaluated_keeps_its_model_and_stops_no_other(tiny, tmp_path, monkeypatch):
    whole, asked = api.evaluate, []

    def evaluate(model, *rest):
        asked.append(model)
        if len(asked) == 1:
            raise NotEnoughMemoryError("the evaluation does not fit")
        return whole(model, *rest)

    monkeypatch.setattr(api, "evaluate", evaluate)
    found = cells("learning-rate=0.01,0.001")
    first, second = sweep.run_sweep(found, tiny, tmp_path)
    assert (first.error, first.runs) == ("the evaluation does not fit", [])
    assert len(second.runs) == 2
    assert load(tmp_path / f"{found[0].stem}.npz").config == found[0].config


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    """Cells with a result are not trained again, and a failed cell does not stop the others."""
    found = cells("latent-dim=2,3", "learning-rate=0.01,1e30")
    watched: list[Recorder] = []
    results = list(
        sweep.run_sweep(found, tiny, tmp_path, watch=lambda group: watched.append(Recorder(group)) or watched[-1])
    )
    assert [bool(result.error) for result in results] == [False, True, False, True]
    assert [len(recorder.group) for recorder in watched] == [2, 2]
    for recorder in watched:
        assert recorder.chunks[0].running == 4
        assert {at.running for at in recorder.chunks if at.epoch == 2} == {2}  # the others have failed
        assert [record["epoch"] for record in recorder.records] == [1, 2]
        assert all(len(record["bound"]) == 2 for record in recorder.records)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"latent-dim={m},learning-rate=0.01.{ending}" for m in (2, 3) for ending in ("json", "npz")
    ]
    (tmp_path / f"{found[2].name}.json").unlink()
    trained = []
    original = training.train_configs
    monkeypatch.setattr(
        training, "train_configs", lambda c, *rest, **more: (trained.extend(c), original(c, *rest, **more))[1]
    )
    again = list(sweep.run_sweep([found[0], found[2]], tiny, tmp_path))
    assert trained == [found[2].config]
    for first, second in zip((results[0], results[2]), again, strict=True):
        assert [r["elbo"] for r in first.runs] == [r["elbo"] for r in second.runs]
    load(tmp_path / f"{found[0].name}.npz")


@pytest.mark.slow
def test_results_of_another_sweep_are_refused(tiny, tmp_path):
    found = cells("latent-dim=2", epochs=1)
    list(sweep.run_sweep(found, tiny, tmp_path))
    with pytest.raises(JvaeError, match=r"latent-dim=2.json: is of another sweep: epochs 1, not 3"):
        list(sweep.run_sweep(cells("latent-dim=2", epochs=3), tiny, tmp_path))
    with pytest.raises(JvaeError, match="another data set's content"):
        list(sweep.run_sweep(found, tiny._replace(fingerprint="0"), tmp_path))
    known = json.loads((tmp_path / "latent-dim=2.json").read_text())
    rows = [[], [{**known["runs"][0], "elbo": "x"}], 2 * known["runs"], [3], None]
    for wrong in ([], {**known, "config": []}, {**known, "config": None}, *({**known, "runs": row} for row in rows)):
        (tmp_path / "latent-dim=2.json").write_text(json.dumps(wrong))
        with pytest.raises(JvaeError, match=r"latent-dim=2.json: is not a cell's result"):
            list(sweep.run_sweep(found, tiny, tmp_path))
    (tmp_path / "latent-dim=2.json").unlink()
    before = (tmp_path / "latent-dim=2.npz").read_bytes()
    with pytest.raises(JvaeError, match=r"latent-dim=2.npz: is not of this sweep"):
        list(sweep.run_sweep(cells("latent-dim=2", epochs=3), tiny, tmp_path))
    assert (tmp_path / "latent-dim=2.npz").read_bytes() == before
    assert not next(sweep.run_sweep(found, tiny, tmp_path)).error  # as after a kill between model and result


@pytest.mark.slow
def test_the_command_writes_a_table_its_summary_and_a_picture(tmp_path):
    flags = [f"--{name.replace('_', '-')}={text_of(value)}" for name, value in {**COMMON, "epochs": 1}.items()]
    output = tmp_path / "made" / "here"
    command = ["sweep", "--grid", "decoder=bernoulli,gaussian", "--grid", "learning-rate=0.01,1e30"]
    done = CliRunner().invoke(main, [*command, *flags, "--output", str(output)])
    assert done.exit_code == 1
    assert "2 of 4 cells failed: decoder=bernoulli,learning-rate=1e+30" in done.stderr.splitlines()[-1]
    assert "different units: compare only within one" in done.stdout
    rows = list(csv.DictReader((output / "results.csv").read_text().splitlines()))
    assert [(row["decoder"], row["learning_rate"], row["seed"]) for row in rows] == [
        ("bernoulli", "0.01", "0"), ("bernoulli", "0.01", "1"), ("bernoulli", "1e+30", ""),
        ("gaussian", "0.01", "0"), ("gaussian", "0.01", "1"), ("gaussian", "1e+30", ""),
    ]  # fmt: skip
    assert "not finite" in rows[2]["error"]
    summary = json.loads((output / "results.json").read_text())["cells"]
    values = [float(row["elbo"]) for row in rows[:2]]
    assert summary[0]["elbo"]["mean"] == pytest.approx(spread(values).mean)
    assert summary[0]["elbo"]["standard_deviation"] == pytest.approx(spread(values).standard_deviation)
    assert (output / "sweep.png").stat().st_size > 10_000
    again = CliRunner().invoke(main, ["sweep", "--grid", "decoder=bernoulli,gaussian", "--grid", "learning-rate=0.01",
                                      *flags, "--output", str(output)])  # fmt: skip
    assert again.exit_code == 0
    assert "epoch" not in again.stderr


def test_what_has_no_finite_value_is_read_again_and_what_failed_has_no_unit(tiny, tmp_path):
    one, other = cells("latent-dim=2,3", epochs=1)
    run = {"seed": 0, **dict.fromkeys(sweep.MEASURES, -math.inf), "seconds_per_epoch": 1.0}
    about = {"config": one.config.to_dict(), "fingerprint": tiny.fingerprint, "unit": "nats"}
    write_json(tmp_path / f"{one.stem}.json", {**about, "runs": [run, {**run, "seed": 1}]})
    known = sweep.load_result(one, tiny, tmp_path)
    assert math.isnan(known.runs[0]["elbo"])
    told = describe([known, sweep.Result(other, "", [], "the recipe file's error")]).splitlines()
    assert told[-2:] == ["| latent-dim=3 | failed |  |  | 0 |", "nats"]
    for broken in ({"seed": 0}, None):
        write_json(tmp_path / f"{one.stem}.json", {**about, "runs": [run, broken]})
        with pytest.raises(JvaeError, match="is not a cell's result"):
            sweep.load_result(one, tiny, tmp_path)


def test_a_grid_of_seeds_has_one_column_of_them():
    runs = [{"seed": seed, **dict.fromkeys(sweep.MEASURES, -1.0), "seconds_per_epoch": 1.0} for seed in (3, 4)]
    (cell,) = cells("seed=3")
    header, *rows = csv.reader(sweep.table([sweep.Result(cell, "nats", runs)]).splitlines())
    assert header.count("seed") == 1
    assert [row[header.index("seed")] for row in rows] == ["3", "4"]


def test_the_picture_has_a_panel_a_unit_and_a_dot_a_run():
    config = Config()
    runs = [{"elbo": -90.0}, {"elbo": -91.0}, {"elbo": -89.5}]
    results = [
        sweep.Result(grid.Cell({"beta": 1.0}, config), "nats", runs),
        sweep.Result(grid.Cell({"beta": 2.0}, config), "nats", runs[:1]),
        sweep.Result(grid.Cell({"decoder": "gaussian"}, config), "other nats", runs),
        sweep.Result(grid.Cell({"beta": 3.0}, config), "nats", [], "failed"),
    ]
    upper, lower = pictures.sweep(results).axes
    assert [text.get_text() for text in upper.get_yticklabels()] == ["beta 1.0", "beta 2.0"]
    assert sorted(upper.lines[0].get_xdata()) == [-91.0, -90.0, -89.5]
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("nats", "other nats")


def test_a_cell_that_a_mesh_does_not_fit_fails_alone(tiny, tmp_path):
    found = grid.cells_of({**Config().to_dict(), **COMMON, "runs": 1, "epochs": 1}, grid.parse_grid(["latent-dim=2,3"]))

    def mesh_of(runs, batch_size):
        raise ValueError("mesh is runs=2,data=1: runs, 1, must be a multiple of runs=2")

    (one,) = sweep.run_sweep(found[:1], tiny, tmp_path, mesh_of)
    assert one.error.startswith("mesh is runs=2,data=1")
    assert [not result.error for result in sweep.run_sweep(found, tiny, tmp_path)] == [True, True]


def test_a_folder_where_a_file_is_written_is_found_before_any_work(tmp_path):
    (tmp_path / "sweep.png").mkdir()
    result = CliRunner().invoke(
        main, ["sweep", "--grid", "prior=mog", "--dataset", "digits", "--output", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "sweep.png: is a directory, where --output writes a file" in result.stderr


@pytest.mark.parametrize("words", [["--grid", "prior=x"], [], ["--grid", "epochs=1", "--batch-size", "0"]])
def test_a_wrong_command_line_is_one_line(words):
    result = CliRunner().invoke(main, ["sweep", *words])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
