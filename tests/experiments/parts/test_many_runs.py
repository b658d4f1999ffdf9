"""Seeds against time: contenders in turn, one of which may fail, and the story of their seconds."""

import time

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from experiments.parts import many_runs, throughput
from experiments.parts.many_runs import Contender


def contender(who, runs, ran, fails=False, seconds=0.0):
    def start():
        def epoch():
            ran.append((who, runs))
            time.sleep(seconds)
            if fails:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

        return epoch

    return Contender(who, runs, start)


def test_contenders_train_in_turn_and_one_that_fails_fails_alone():
    ran, said = [], []
    contenders = [contender("tuned", 1, ran), contender("jvae", 1, ran), contender("jvae", 512, ran, fails=True)]
    rows = many_runs.time_in_turn(contenders, 3, time.perf_counter() + 60, said.append)
    # all compile, jvae once more to show how long 512 would take; then two rounds count
    assert ran == [("tuned", 1), ("jvae", 1), ("jvae", 1), ("jvae", 512), *[("tuned", 1), ("jvae", 1)] * 2]
    assert [len(row["seconds"]) for row in rows] == [2, 2, 0]
    assert [row["failed"] for row in rows] == ["", "", "RuntimeError: RESOURCE_EXHAUSTED: out of memory"]
    assert len(said) == 3 + 4


def test_there_is_one_round_that_counts_when_the_time_is_over():
    ran = []
    (row,) = many_runs.time_in_turn([contender("jvae", 1, ran)], 9, time.perf_counter() - 1, lambda line: None)
    assert len(row["seconds"]) == 1


def test_more_runs_than_the_time_allows_are_left_out_and_say_so():
    ran, ending = [], time.perf_counter() + 5
    contenders = [contender("jvae", runs, ran, seconds=0.02) for runs in (1, 2, 2048)]
    one, two, many = many_runs.time_in_turn(contenders, 2, ending, lambda line: None)
    assert one["seconds"]
    assert two["seconds"]
    assert not many["seconds"]
    assert ("jvae", 2048) not in ran
    taking = float(many["failed"].removeprefix("left out, for it would take ").partition(" s")[0])
    assert 40 <= taking < 80  # two epochs of 1,024 times 0.02 s


@pytest.fixture
def values():
    rows = [
        {"who": "jvae", "runs": 1, "seconds": [2.0, 4.0], "failed": ""},
        {"who": "jvae", "runs": 64, "seconds": [6.0], "failed": ""},
        {"who": "jvae", "runs": 512, "seconds": [], "failed": "RuntimeError: out of memory"},
        {"who": "graphs", "runs": 1, "seconds": [1.0], "failed": ""},
    ]
    network = {"network": "mlp", "rows": rows, "epoch_flops": 3e9, "epoch_bytes": 2e9, "steps": 10}
    network |= {"peak": 1e12, "bandwidth": 5e11, "launches": 5e4}
    return {"networks": [network], "images": 100, "batch_size": 10, "device": "gpu (card)", "graphs": True}


def test_the_table_has_runs_a_minute_and_the_share_of_the_peak(values):
    story = throughput.tell(values)
    assert "| jvae | 64 | 6 s | 128 | 0.032 | 0.043 | 3e+04 |" in story.text.replace("30,000", "3e+04")
    assert "a CUDA graph with a capturable fused Adam | 1 | 1 s | 12 |" in story.text
    assert "not timed: jvae, 512 runs: RuntimeError: out of memory" in story.text
    assert "128 runs a minute with 64 at once in jvae, 12 one by one" in story.short
    assert "CUDA graphs are left out" not in story.text
    assert "CUDA graphs are left out" in throughput.tell({**values, "graphs": False}).text


def test_the_picture_has_a_line_and_levels(values):
    figure = many_runs.plot_runs_a_minute(values)
    assert isinstance(figure, Figure)
    line, level = figure.axes[0].lines
    assert line.get_ydata() == pytest.approx([60 / 15, 128])
    assert level.get_ydata()[0] == pytest.approx(12)
    assert figure.dpi == 150  # as every other picture's
    assert not pyplot.get_fignums()
