"""Curves over steps and paths in a plane: what the buttons, shades and sliders do."""

import json

import numpy as np
import pytest

from icl_interp.figures.lines import Line, StepMark, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import role_style

LINE = Line("loss", [0, 9, 99], [3.0, 2.0, 1.0], role_style("model"))


def plain(figure):
    return json.loads(figure.to_json())


def path(name="run", n=3, **changes):
    fields = {"steps": range(n), "x": [float(i) for i in range(n)], "y": [float(-i) for i in range(n)]}
    return PlanePath(name, style=role_style("model"), **(fields | changes))


def test_step_zero_has_a_place_on_a_logarithmic_axis():
    drawn = plain(timeline_figure([LINE], y="loss"))
    assert drawn["data"][0]["x"] == [1, 10, 100]
    assert drawn["layout"]["xaxis"]["type"] == "log"


def test_named_buttons_switch_the_scale():
    (menu,) = plain(timeline_figure([LINE], y="loss"))["layout"]["updatemenus"]
    assert [button["label"] for button in menu["buttons"]] == ["log steps", "linear steps"]
    assert [button["args"][0]["xaxis.type"] for button in menu["buttons"]] == ["log", "linear"]


@pytest.mark.parametrize(
    ("boundaries", "shaded"),
    [((), []), ((4,), [(5, 100)]), ((4, 19), [(5, 20)]), ((4, 19, 49), [(5, 20), (50, 100)])],
    ids=["one stage", "two", "three", "four"],
)
def test_every_second_stage_is_shaded(boundaries, shaded):
    shapes = plain(timeline_figure([LINE], y="loss", boundaries=boundaries))["layout"].get("shapes", [])
    assert [(shape["x0"], shape["x1"]) for shape in shapes] == shaded


def test_marks_of_one_name_are_one_entry_of_the_legend():
    marks = [StepMark("t_crit", 9, 2.0, "#111111"), StepMark("t_crit", 99, 1.0, "#222222")]
    trace = plain(timeline_figure([LINE], y="loss", marks=marks))["data"][-1]
    assert (trace["name"], trace["x"], trace["y"]) == ("t_crit", [10, 100], [2.0, 1.0])


def test_a_slider_moves_one_point_a_path_to_its_checkpoint():
    short = path("short", 2)
    drawn = plain(paths_figure([path(), short], x="a", y="b", slider=True))
    (slider,) = drawn["layout"]["sliders"]
    assert [stop["label"] for stop in slider["steps"]] == ["0", "1", "2"]
    for stop, place in zip(slider["steps"], ([0.0, 0.0], [1.0, 1.0], [2.0, 1.0]), strict=True):
        change, moving = stop["args"]
        assert [xs[0] for xs in change["x"]] == place
        assert [drawn["data"][i]["name"] for i in moving] == [
            "run, at the slider's step", "short, at the slider's step",
        ]  # fmt: skip


def test_many_checkpoints_share_few_stops_with_the_last_among_them():
    (slider,) = plain(paths_figure([path(n=1000)], x="a", y="b", slider=True))["layout"]["sliders"]
    assert len(slider["steps"]) <= 42
    assert slider["steps"][-1]["label"] == "999"


def test_rings_stars_landmarks_and_the_diagonal_are_drawn():
    figure = paths_figure(
        [path(ring=1, y_error=[0.1, 0.2, 0.3])], x="a", y="b", landmarks=[Landmark("ridge", 5.0, 6.0, "square")],
        diagonal=True, equal_scale=True, x_type="log",
    )  # fmt: skip
    drawn = plain(figure)
    by_name = {trace["name"]: trace for trace in drawn["data"]}
    assert by_name["run, t_crit"]["x"] == [1.0]
    assert by_name["run, end"]["x"] == [2.0]
    assert by_name["reference predictors"]["text"] == ["ridge"]
    np.testing.assert_array_equal(by_name["run"]["error_y"]["array"], [0.1, 0.2, 0.3])
    assert by_name["equally far"]["x"] == by_name["equally far"]["y"]
    assert drawn["layout"]["yaxis"]["scaleanchor"] == "x"
    assert drawn["layout"]["xaxis"]["type"] == "log"


def test_a_logarithmic_axis_of_less_than_two_decades_has_labels_inside_them():
    wide = Line("loss", [0, 9, 99], [100.0, 1.0, 0.5], role_style("model"))
    for line, ticks in ((LINE, "D2"), (wide, 1)):
        assert plain(timeline_figure([line], y="loss", y_type="log"))["layout"]["yaxis"]["dtick"] == ticks
    assert "dtick" not in plain(timeline_figure([LINE], y="loss"))["layout"]["yaxis"]


def test_names_of_landmarks_reach_towards_the_middle():
    landmarks = [Landmark("left", -5.0, 0.0), Landmark("right", 9.0, 0.0)]
    trace = plain(paths_figure([path()], x="a", y="b", landmarks=landmarks))["data"][-1]
    assert trace["textposition"] == ["top right", "top left"]
