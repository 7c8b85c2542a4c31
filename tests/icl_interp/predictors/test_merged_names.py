"""Merged names, what is found under them, and answers that are asked for once."""

import copy
import pickle

import pytest
import torch

from icl_interp.predictors import least_squares, zero
from icl_interp.predictors.references import ByReference, References, names_in
from icl_interp.prompts import Prompts

LOSSES = ByReference([(("zero",), 1.0), (("least squares", "ridge"), 0.25), (("Bayes", "dMMSE"), 0.125)])
PROMPTS = Prompts(xs=torch.tensor([[[1.0], [2.0]]]), ys=torch.tensor([[3.0, 6.0]]))


class Counting:
    """A predictor of zeros that counts how often it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, xs, ys, *, points=None):  # noqa: ARG002
        self.asked += 1
        return 0 * (ys if points is None else ys[:, points])


def test_entries_are_listed_merged_and_found_by_each_name():
    assert list(LOSSES) == ["zero", "least squares = ridge", "Bayes = dMMSE"]
    assert dict(LOSSES) == {"zero": 1.0, "least squares = ridge": 0.25, "Bayes = dMMSE": 0.125} == LOSSES
    assert LOSSES["ridge"] == LOSSES["least squares"] == LOSSES["least squares = ridge"] == 0.25
    assert LOSSES.shown("dMMSE") == "Bayes = dMMSE"
    assert LOSSES.names["least squares = ridge"] == ("least squares", "ridge")


def test_what_is_not_there_is_not_found():
    assert "ridge" in LOSSES
    assert "Lasso" not in LOSSES
    assert LOSSES.shown("Lasso") is LOSSES.get("Lasso") is None
    assert "least" not in LOSSES  # names, not parts of them
    with pytest.raises(KeyError):
        LOSSES["Lasso"]


def test_names_are_shown_and_their_number():
    assert repr(LOSSES) == "ByReference(3: zero, least squares = ridge, Bayes = dMMSE)"
    assert repr(LOSSES.each(lambda _: torch.zeros(99))) == repr(LOSSES)
    many = ByReference(((f"predictor {number}",), number) for number in range(99))
    assert repr(many) == "ByReference(99: predictor 0, predictor 1, predictor 2, predictor 3, ...)"
    assert repr(References([])) == "References(0)"


def test_a_name_stands_for_one_entry():
    with pytest.raises(ValueError, match="need names of their own, got 'ridge' twice; rename one"):
        ByReference([(("least squares", "ridge"), 1), (("ridge",), 2)])


@pytest.mark.parametrize(
    ("names", "optimal"),
    [
        (("ridge", "Bayes"), "ridge = Bayes"),
        (("Bayes", "dMMSE"), "Bayes = dMMSE"),
        (("oracle",), "oracle"),
        (("ridge",), None),
    ],
)
def test_the_optimal_one_is_bayes_or_the_oracle(names, optimal):
    assert ByReference([(("zero",), 0), (names, 1)]).optimal == optimal


def test_names_come_back_from_a_file():
    again = ByReference((names_in(shown), value) for shown, value in dict(LOSSES).items())
    assert again == LOSSES
    assert again.names == LOSSES.names


def test_other_values_keep_the_names():
    doubled = LOSSES.each(lambda name: 2 * LOSSES[name])
    assert doubled["ridge"] == 0.5
    assert list(doubled) == list(LOSSES)
    assert pickle.loads(pickle.dumps(doubled)).shown("ridge") == "least squares = ridge"


def test_each_predictor_is_asked_once_about_the_same_prompts():
    counting = Counting()
    references = References([(("zero",), zero()), (("counted", "counted again"), counting)])
    first = references.answers(PROMPTS)
    assert references.answer("counted again", PROMPTS).equal(first["counted"])
    assert references.answers(PROMPTS)["counted"].equal(first["counted"])
    assert counting.asked == 1
    references.answers(PROMPTS[:1])  # another object, whatever it holds
    assert counting.asked == 2


def test_answers_can_be_changed_without_changing_what_is_recalled():
    references = References.of({"least squares": least_squares()})
    for _ in range(3):
        answer = references.answer("least squares", PROMPTS)
        torch.testing.assert_close(answer, torch.tensor([[0.0, 6.0]]))
        answer.zero_()


def test_what_was_said_to_prompts_goes_with_them():
    references, answers = References.of({"zero": zero()}), []
    for _ in range(5):
        prompts = PROMPTS[:1]
        references.answer("zero", prompts)
        answers.append(len(references._said))
    assert max(answers) <= 2  # one that is gone and the one that is asked
    references.answer("zero", PROMPTS)
    assert len(references._said) == 2
    assert references._said[0][0]() is prompts


def test_references_are_copied_without_what_they_recall():
    counting = Counting()
    references = References.of({"counted": counting})
    references.answer("counted", PROMPTS)
    for again in (pickle.loads(pickle.dumps(references)), copy.deepcopy(references)):
        assert again.answer("counted", PROMPTS).equal(references.answer("counted", PROMPTS))
    assert counting.asked == 1


def test_only_the_one_that_is_wanted_is_asked():
    counting = Counting()
    References.of({"zero": zero(), "counted": counting}).answer("zero", PROMPTS)
    assert counting.asked == 0


def test_answers_are_those_of_the_predictor_and_follow_queries():
    asked = Prompts(xs=PROMPTS.xs, ys=PROMPTS.ys, query_xs=10 * PROMPTS.xs, query_ys=10 * PROMPTS.ys)
    references = References.of({"least squares": least_squares()})
    torch.testing.assert_close(references.answers(PROMPTS)["least squares"], torch.tensor([[0.0, 6.0]]))
    torch.testing.assert_close(references.answers(asked)["least squares"], torch.tensor([[0.0, 60.0]]))


def test_own_predictors_are_added_and_found():
    own = Counting()
    references = References([(("least squares", "ridge"), least_squares())]).and_own({"mine": own})
    assert list(references) == ["least squares = ridge", "mine"]
    assert references["mine"].predictor is own
    assert "ridge" in references


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"ridge": zero()}, "need names of their own, got 'ridge' twice"),
        ({"mine": 3.0}, r"'mine' needs a predictor that is called f\(xs, ys\), got float"),
        ({"mine": lambda xs: xs}, r"needs a predictor that is called f\(xs, ys\), got .*\(xs\)"),
    ],
)
def test_own_predictors_need_free_names_and_calls(own, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        References([(("least squares", "ridge"), least_squares())]).and_own(own)


def test_an_answer_of_another_shape_is_told():
    references = References([]).and_own({"mine": lambda xs, ys: ys[:, -1:]})  # noqa: ARG005
    with pytest.raises(
        ValueError,
        match=r"'mine' needs to answer \[1, 2\] in floating point, one number per prompt and asked point, got \[1, 1\]",
    ):
        references.answers(PROMPTS)


def test_references_stay_what_they_are():
    references = References.of({"zero": zero(), "least squares = ridge": least_squares()})
    assert References.of(references) is references
    assert references["ridge"] is references["least squares = ridge"]
