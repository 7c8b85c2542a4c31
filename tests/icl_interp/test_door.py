"""What people hand to public functions: other forms are taken, and what cannot be meant is told in one sentence.

The expressions run in a process of their own, where no type checker of the tests stands before the functions.
"""

import json
from typing import Any

import pytest
from fresh import run_text

PRELUDE = """
import json, sys, tempfile
from pathlib import Path
import numpy as np, torch
import icl_interp as icl
from icl_interp.interventions import project_out, steer, patch, predict_under, mean_activations
from icl_interp.predictors import discrete_mmse, least_squares, ridge

task = icl.LinearRegression(2, n_points=5)
config = icl.ModelConfig(n_dims=2, n_points=9, n_layers=1, n_heads=1, d_model=8)
model = icl.build_model(config, seed=0)
folder = tempfile.mkdtemp()
saved = icl.save_checkpoint(folder + "/model.pt", model, task=task, step=3)
checkpoint = icl.load_checkpoint(saved)
module = torch.nn.Linear(2, 1)
prompts = task.sample(16, seed=0)
xs, ys = prompts.xs, prompts.ys
arrays = xs.numpy(), ys.numpy()
few = {"n_prompts": 16, "n_controls": 0}
hook = "blocks.0.hook_resid_post"
axis = torch.eye(8)[:, :1]

def same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    return True

def found(expression):
    try:
        return ["value", repr(eval(expression))]
    except Exception as error:
        return [type(error).__name__, str(error)]

print(json.dumps({expression: found(expression) for expression in json.loads(sys.argv[1])}))
"""

MEASURES = {
    "study": "shifts=['x_scale=3'], layers=[], **few",
    "ood_report": "shifts=['x_scale=3'], **few",
    "detector_report": "shifts=['x_scale=3'], **few",
    "linear_probes": "**few",
    "layer_readouts": "**few",
    "head_importance": "**few",
    "attention_summary": "**few",
    "direct_contributions": "n_prompts=16",
    "patching_map": "n_prompts=16",
    "signature_view": "shifts=['x_scale=3'], **few",
    "error_curves": "shifts=['x_scale=3'], n_prompts=16",
    "algorithm_agreement": "n_prompts=4",
}

TRUE = [
    # A Checkpoint stands for its model, and its task is the default.
    "icl.study(checkpoint, shifts=['x_scale=3'], layers=[], **few).task == task",
    "icl.study(checkpoint, n_points=9, shifts=['x_scale=3'], layers=[], **few)"
    ".families.in_distribution.first_unseen_point == 5",
    "icl.error_curves(checkpoint, shifts=['x_scale=3'], n_prompts=8, n_points=9)"
    ".in_distribution.first_unseen_point == 5",
    "icl.ood_report(checkpoint, shifts=['x_scale=3'], **few).mean_auroc"
    " == icl.ood_report(model, task, shifts=['x_scale=3'], **few).mean_auroc",
    "icl.detector_report(checkpoint, icl.LinearRegression(2, n_points=7), shifts=['x_scale=3'], **few).n_networks == 0",
    "icl.linear_probes(checkpoint, **few).n_prompts == 16",
    "icl.layer_readouts(checkpoint, **few).n_prompts == 16",
    "icl.head_importance(checkpoint, **few).n_prompts == 16",
    "icl.attention_summary(checkpoint, **few).n_prompts == 16",
    "icl.direct_contributions(checkpoint, n_prompts=16).n_prompts == 16",
    "icl.patching_map(checkpoint, n_prompts=16).n_prompts == 16",
    "len(icl.weight_views(checkpoint).heads) == model.cfg.n_layers * model.cfg.n_heads",
    "icl.signature_view(checkpoint, shifts=['x_scale=3'], **few).shifts == ('x_scale=3',)",
    "icl.algorithm_agreement(checkpoint, n_prompts=4).n_points == 5",
    "same(icl.collect(checkpoint, prompts, hook)[hook], icl.collect(model, prompts, hook)[hook])",
    "len(list(icl.stream(checkpoint, prompts, [hook]))) == 1",
    "icl.layer_similarity(checkpoint, prompts, n_controls=0).n_prompts == 16",
    "same(icl.spectral_signature(checkpoint, prompts, n_controls=0).scores.overlap,"
    " icl.spectral_signature(model, prompts, n_controls=0).scores.overlap)",
    "icl.intervention_effect(checkpoint, None, steer(axis[:, 0], hook, amount=0.0), n_prompts=8).change.value == 0",
    "icl.subspace_use(checkpoint, None, axis, hook, n_prompts=8, n_random=1).rank == 1",
    "icl.signature_use(checkpoint, None, hook, n_prompts=8, n_random=1, n_controls=0).rank == 2",
    "same(icl.predict(checkpoint, prompts), model(xs, ys))",
    "same(predict_under(checkpoint, prompts), predict_under(model, prompts))",
    "same(mean_activations(checkpoint, prompts, [hook])[hook], mean_activations(model, prompts, [hook])[hook])",
    "patch(checkpoint, prompts, task.sample(16, seed=1), hook, axes=()).name == hook",
    "icl.load_checkpoint(icl.save_checkpoint(folder + '/again.pt', checkpoint)).step == 3",
    "icl.load_checkpoint(folder + '/again.pt').task == task",
    # Arrays of numpy stand for tensors of their dtype.
    "same(icl.Prompts(*arrays).xs, xs)",
    "icl.Prompts(arrays[0].astype('f8'), arrays[1]).xs.dtype == torch.float64",
    "same(model(*arrays), model(xs, ys))",
    "same(icl.predict(model, icl.Prompts(*arrays)), model(xs, ys))",
    "same(least_squares()(*arrays), least_squares()(xs, ys))",
    "least_squares()(*(array.astype('f8') for array in arrays)).dtype == torch.float64",
    "same(ridge(1.0, np.ones(2))(*arrays), ridge(1.0, torch.ones(2).double())(xs, ys))",
    "same(discrete_mmse(np.eye(2), 0.5)(xs, ys), discrete_mmse(torch.eye(2).double(), 0.5)(xs, ys))",
    "same(icl.spectral_signature(np.asarray(icl.collect(model, prompts, hook)[hook])).scores.overlap,"
    " icl.spectral_signature(icl.collect(model, prompts, hook)[hook]).scores.overlap)",
    "same(predict_under(model, prompts, project_out(axis.numpy(), hook)),"
    " predict_under(model, prompts, project_out(axis, hook)))",
    "icl.subspace_use(model, task, axis.numpy(), hook, n_prompts=8, n_random=1).effect.change.value"
    " == icl.subspace_use(model, task, axis, hook, n_prompts=8, n_random=1).effect.change.value",
    "same(icl.Prompts(arrays[0][::-1], np.broadcast_to(np.float32(1), (16, 5))).xs, xs.flip(0))",
    "same(icl.Prompts(arrays[0].astype('>f4'), arrays[1]).xs, xs)",
]

SENTENCES = {
    # models
    **{f"icl.{name}(task, model, {how})": f"{name} needs the model first and then the task, got them the other way"
       for name, how in MEASURES.items()},
    **{f"icl.{name}('model.pt', task, {how})": f"{name} needs a model, got the path 'model.pt'; pass "
       "icl_interp.load_checkpoint(path)." for name, how in MEASURES.items()},
    **{f"icl.{name}(model, **{{}})": f"{name} needs a task, got none; pass one such as" for name in MEASURES},
    "icl.study([Path('a.pt'), 'b.pt'], task)": "study needs a model, got a list of 2 paths; pass "
    "icl_interp.load_checkpoint(path), one after the other; icl_interp.development(paths) follows checkpoints",
    "icl.study(module, task)": "study needs a model, got Linear; wrap the module first: icl_interp.wrap(module)",
    "icl.study(config, task)": "got ModelConfig; pass icl_interp.build_model(config, seed=0)",
    "icl.study(None, task)": "study needs a model, got none; pass what icl_interp.load_checkpoint or build_model",
    "icl.study(prompts, task)": "study needs a model, got Prompts",
    "icl.study(icl.HookedICLTransformer, task)": "study needs a model, got the class HookedICLTransformer",
    "icl.spectral_signature(module, prompts)": "spectral_signature needs a model, got Linear; wrap the module first",
    "icl.spectral_signature('model.pt', prompts)": "spectral_signature needs a model, got the path 'model.pt'",
    "icl.layer_similarity(module, prompts)": "layer_similarity needs a model, got Linear; wrap",
    "icl.collect(module, prompts, hook)": "collect needs a model, got Linear; wrap",
    "list(icl.stream(module, prompts, [hook]))": "stream needs a model, got Linear; wrap",
    "predict_under(module, prompts)": "predict_under needs a model, got Linear; wrap",
    "patch(module, prompts, prompts, hook)": "patch needs a model, got Linear; wrap",
    "mean_activations(module, prompts, [hook])": "mean_activations needs a model, got Linear; wrap",
    "icl.error_curves(3, task)": "error_curves needs a model, got int",
    # tasks
    "icl.linear_probes(model, model)": "linear_probes needs a task, got HookedICLTransformer; the model comes first",
    "icl.linear_probes(model, {'n_dims': 2})": "got dict; pass icl_interp.task_from_config(...)",
    "icl.linear_probes(model, prompts)": "needs a task, got Prompts; pass what such prompts are drawn from",
    "icl.linear_probes(model, icl.LinearRegression)": "linear_probes needs a task, got the class LinearRegression",
    # prompts
    "icl.spectral_signature(model, (xs, ys))": "needs prompts, got a tuple of 2; pass icl_interp.Prompts(",
    "icl.spectral_signature(model, task)": "needs prompts, got the task LinearRegression; pass task.sample(256",
    "icl.collect(model, (xs, ys), hook)": "collect needs prompts, got a tuple of 2; pass icl_interp.Prompts(",
    "icl.layer_similarity(model, xs)": "layer_similarity needs prompts, got Tensor; pass icl_interp.Prompts(",
    "patch(model, prompts, (xs, ys), hook)": "patch needs corrupted prompts, got a tuple of 2",
    "icl.subspace_use(model, task, axis, hook, prompts=(xs, ys))": "subspace_use needs prompts, got a tuple of 2",
    "icl.predict(model, (xs, ys))": "needs a model or predictor and Prompts, got HookedICLTransformer and tuple",
    "icl.predict('model.pt', prompts)": "predict needs a model or predictor and Prompts, got str and Prompts",
    # arrays
    "icl.Prompts(arrays[0].astype(object), arrays[1])": "arrays need a dtype that torch has, got object",
    # extension points
    "icl.study(model, task, shifts='x_scale=3')": "shifts needs a list of names and Shift objects, got one alone",
    "icl.study(model, task, shifts=[3])": "shifts needs names and icl_interp.Shift objects, got int",
    "icl.register_shift('x_scale')": "register_shift needs an icl_interp.Shift, got str",
    "icl.Shift('a', ('1',), 'inputs', 'b', lambda task, value: task)": "the shift 'a' needs finite numbers as values",
    "icl.Shift('a', (), 'inputs', 'b', 3)": "the shift 'a' needs apply that is called f(task, value), got int",
    "icl.Detector(3)": "a Detector needs a function that is called f(features), got int",
    "icl.study(model, task, detectors={'mine': 3})": "the detector 'mine' needs a function that is called f(features)",
    "icl.study(model, task, targets={'mine': 3})": "the target 'mine' needs a function that is called f(prompts)",
    "icl.study(model, task, references={'mine': 3})": "the reference 'mine' needs a predictor that is called",
    "icl.register_reference(3)": "register_reference needs a name for tables and files, got None",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    done = run_text(PRELUDE, json.dumps([*TRUE, *SENTENCES]), folder=tmp_path_factory.mktemp("door"))
    assert done.code == 0, done.complained
    return dict(json.loads(done.said.splitlines()[-1]))


@pytest.mark.parametrize("expression", TRUE)
def test_other_forms_are_taken(expression: str, found: dict[str, Any]) -> None:
    assert found[expression] == ["value", "True"]


@pytest.mark.parametrize(("expression", "sentence"), SENTENCES.items(), ids=SENTENCES)
def test_what_cannot_be_meant_is_told(expression: str, sentence: str, found: dict[str, Any]) -> None:
    kind, text = found[expression]
    assert kind in ("InputTypeError", "InputError"), text
    assert sentence in text
    assert "\n" not in text
