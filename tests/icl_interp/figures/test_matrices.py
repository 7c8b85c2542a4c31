"""Matrices as colour maps: rows in blocks, their values, and the scale."""

import numpy as np

from icl_interp.figures.heatmap import MatrixBlock, matrix_figure

BLOCKS = [MatrixBlock("above", {"a": [0.1, 0.9], "b": [0.5, float("nan")]}), MatrixBlock("below", {"c": [1.0, 0.0]})]


def test_blocks_stand_above_one_another_with_a_gap():
    (map_,) = matrix_figure(BLOCKS, ["left", "right"], value="AUROC", value_range=(0.0, 1.0)).data
    assert list(map_.x) == ["left", "right"]
    assert [label.strip() for label in map_.y] == ["a", "b", "", "c"]
    values = np.array(map_.z, dtype=float)
    np.testing.assert_array_equal(values, [[0.1, 0.9], [0.5, np.nan], [np.nan, np.nan], [1.0, 0.0]])
    assert (map_.zmin, map_.zmax, map_.zmid) == (0.0, 1.0, None)


def test_a_middle_gets_a_scale_with_two_arms():
    rising = matrix_figure(BLOCKS, ["left", "right"], value="v", value_range=(0.0, 1.0)).data[0]
    both = matrix_figure(BLOCKS, ["left", "right"], value="v", value_range=(0.0, 1.0), middle=0.5).data[0]
    assert both.zmid == 0.5
    assert both.colorscale != rising.colorscale
