"""Tests of tinyshrink.distillation: first the checks of lesson 04 in the order of its exercises, then ordinary tests."""

import copy
import math
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyshrink import data, distillation, metrics, models, structured, training


def test_soft_targets_by_hand():
    for logits, temperature, expected in (
        ([[0.0, math.log(9)]], 1, [[0.1, 0.9]]),
        ([[0.0, math.log(9)]], 2, [[0.25, 0.75]]),
        ([[0.0, math.log(3)]], 0.5, [[0.1, 0.9]]),
        ([[0.0, 0.0, math.log(4)], [math.log(16), 0.0, 0.0]], 2, [[0.25, 0.25, 0.5], [2 / 3, 1 / 6, 1 / 6]]),
    ):
        got = distillation.soft_targets(torch.tensor(logits), temperature)
        assert got.shape == (len(logits), len(logits[0])), f"expected {(len(logits), len(logits[0]))}, got {tuple(got.shape)}"
        close = torch.allclose(got, torch.tensor(expected), atol=1e-6)
        assert close, f"logits {logits} at temperature {temperature}: expected {expected}, got {got.tolist()}"


def test_soft_targets_of_large_logits_are_finite():
    got = distillation.soft_targets(torch.tensor([[1000.0, 990.0], [-2000.0, -1990.0]]), 10)
    expected = torch.tensor([[0.7310586, 0.2689414], [0.2689414, 0.7310586]])
    assert torch.allclose(got, expected), f"logits in the thousands at temperature 10: expected {expected}, got {got}"


def test_distillation_loss_by_hand():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(9)]])
    for temperature, alpha, expected in (  # at T = 2: 0.25 ln 0.5 + 0.75 ln 1.5 = 0.1308120, times 4 = 0.5232481
        (2, 1, 0.5232481),
        (2, 0, 0.6931472),
        (2, 0.5, 0.6081976),
        (1, 1, 0.3680642),
        (1, 0.9, 0.4005725),
    ):
        got = float(distillation.distillation_loss(student, teacher, torch.tensor([1]), temperature, alpha))
        case = f"student [0, 0], teacher [0, ln 9], T = {temperature}, alpha = {alpha}"
        assert abs(got - expected) < 1e-6, f"{case}: expected {expected}, got {got:.7f}"


def test_distillation_loss_is_a_mean_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 10, generator=generator)
    labels = torch.arange(6)
    whole = distillation.distillation_loss(student, teacher, labels, 3.0, 0.7)
    assert whole.ndim == 0, f"the loss is one number, got shape {tuple(whole.shape)}"
    loss = distillation.distillation_loss
    parts = [loss(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1], 3.0, 0.7) for i in range(6)]
    mean = torch.stack(parts).mean()
    assert torch.allclose(whole, mean), f"six images have losses with the mean {mean:.6f}, their batch has {whole:.6f}"


def test_distillation_loss_is_that_of_torch():
    generator = torch.Generator().manual_seed(1)
    student, teacher = (3 * torch.randn(2, 8, 10, generator=generator, dtype=torch.float64)).unbind()
    student.requires_grad_()
    labels = torch.randint(10, (8,), generator=generator)
    for temperature, alpha in ((1, 1), (4, 1), (4, 0.9), (0.5, 0.3), (20, 0.5)):
        log_q, p = F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
        kl, ce = F.kl_div(log_q, p, reduction="batchmean"), F.cross_entropy(student, labels)
        theirs = alpha * temperature**2 * kl + (1 - alpha) * ce
        yours = distillation.distillation_loss(student, teacher, labels, temperature, alpha)
        case = f"T = {temperature}, alpha = {alpha}"
        assert abs(yours - theirs) < 1e-6 * max(1, theirs), f"{case}: expected {theirs:.7f} as F.kl_div gives, got {yours:.7f}"
        expected, got = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (theirs, yours))
        assert torch.allclose(got, expected, atol=1e-6), f"{case}: the gradients differ by {(got - expected).abs().max():.2g}"


def test_no_gradient_reaches_the_teacher():
    student, teacher = torch.ones(3, 4, requires_grad=True), torch.eye(3, 4).requires_grad_()
    distillation.distillation_loss(student, teacher, torch.tensor([0, 1, 3]), 2.0, 0.5).backward()
    assert teacher.grad is None, "a gradient reached the teacher: it would learn from its student"
    assert student.grad is not None and student.grad.abs().sum() > 0, "no gradient reached the student"
    assert teacher.requires_grad, "the teacher's logits were changed: requires_grad was on"


def test_images_without_a_label_learn_from_the_teacher_alone():
    student, teacher = torch.tensor([[1.0, 0, 2], [0.0, 3, 1]]), torch.tensor([[0.0, 1, 1], [2.0, 0, 0]])
    loss = distillation.distillation_loss
    for labels in ([2, -100], [-100, -100]):
        got = loss(student, teacher, torch.tensor(labels), 2.0, 0.6)
        ce = -student.log_softmax(1)[0, 2] / 2 if 2 in labels else 0  # of two images, one has a label
        expected = 0.6 * loss(student, teacher, torch.tensor([0, 0]), 2.0, 1.0) + 0.4 * ce
        assert torch.isfinite(got), f"labels {labels} give a loss of {got}: a mean over no labels is 0 / 0"
        assert torch.allclose(got, expected), f"labels {labels}: expected {expected:.6f}, got {got:.6f}"


def test_frozen_model_is_in_eval_mode_and_takes_no_gradient():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = copy.deepcopy(model.state_dict())
    x = torch.arange(12.0).view(4, 3)
    with distillation.frozen(model) as given:
        assert given is model, f"`with frozen(model) as m` gives the model, got {type(given).__name__}"
        training_now = [type(module).__name__ for module in model.modules() if module.training]
        assert not training_now, f"still in training mode inside: {', '.join(training_now)}"
        first, second = model(x), model(x)
        assert torch.equal(first, second), "asked twice, the model gave two answers: is dropout on?"
        assert not first.requires_grad, "its answers carry a gradient: parameters still require one"
        said = "another network is trained while this one is frozen: torch.no_grad() would stop that one's gradients too"
        assert torch.is_grad_enabled(), said
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed, f"these changed while it was frozen: {', '.join(changed)}"


def test_frozen_model_is_put_back_as_it_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval(), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    model[0].bias.requires_grad = False
    modes = [module.training for module in model.modules()]
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    for error in (None, RuntimeError("out of memory")):
        try:
            with distillation.frozen(model):
                if error:
                    raise error
        except RuntimeError as raised:
            assert raised is error, f"the error inside was {error!r}, outside it is {raised!r}"
        when = "after an error" if error else "in the end"
        now = [module.training for module in model.modules()]
        assert now == modes, f"{when} the modes (True = training) should be {modes} again, they are {now}"
        now = [parameter.requires_grad for parameter in model.parameters()]
        assert now == gradients, f"{when} requires_grad should be {gradients} again, it is {now}"


def test_hint_loss_by_hand():
    projection = nn.Linear(2, 3, bias=False)
    projection.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    student = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # (1, 2, 1, 2): channels (1, 3) and (2, 4) at two positions
    for teacher, expected in (
        (torch.tensor([[[1.0, 3.0, 4.0], [2.0, 4.0, 6.0]]]), 0.0),  # (1, 2, 3): a transformer with two tokens
        (torch.tensor([[[1.0, 3.0, 1.0], [2.0, 4.0, 6.0]]]), 1.5),  # 3 off at one of six places: 9 / 6
        (torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]], [[4.0, 9.0]]]]), 1.5),  # (1, 3, 1, 2): a CNN
    ):
        got = distillation.hint_loss(student, teacher, projection)
        assert got.ndim == 0, f"the loss is one number, got shape {tuple(got.shape)}"
        assert abs(got.item() - expected) < 1e-6, f"teacher {teacher.tolist()}: expected {expected}, got {got.item():.6f}"
    try:
        got = distillation.hint_loss(student, torch.ones(1, 1, 3), projection)
    except ValueError:
        return
    raise AssertionError(f"two positions and a hint of one do not fit: a ValueError was expected, got {got}")


def test_hint_loss_trains_student_and_projection_alone():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, c, 4, 4, generator=generator, requires_grad=True) for c in (3, 5))
    projection = nn.Linear(3, 5)
    distillation.hint_loss(student, teacher, projection).backward()
    assert teacher.grad is None, "a gradient reached the teacher's features: detach them"
    assert student.grad is not None and student.grad.any(), "no gradient reached the student's features"
    assert projection.weight.grad is not None and projection.weight.grad.any(), "no gradient reached the projection"


def test_attention_loss_by_hand():
    left, right, both = (torch.tensor([[[row]]]) for row in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]))  # (1, 1, 1, 2)
    for student, teacher, expected in (
        (left, 7 * left, 0.0),
        (left, -left, 0.0),
        (left, right, 2.0),
        (left, both, 2 - 2**0.5),
        (torch.cat([left, left, right]), torch.cat([left, right, right]), 2 / 3),
        (torch.cat([left, right], 1), both, 0.0),  # two channels look at one place each, together at both
        (torch.tensor([[[2.0], [1.0]]]), torch.tensor([[[1.0, 3.0], [3.0, 1.0]]]), 2 - 10 / 34**0.5),  # tokens
    ):
        got = distillation.attention_loss(student, teacher)
        assert got.ndim == 0, f"the loss is one number, got shape {tuple(got.shape)}"
        case = f"student {student.tolist()}, teacher {teacher.tolist()}"
        assert abs(got.item() - expected) < 1e-6, f"{case}: expected {expected:.6f}, got {got.item():.6f}"
    try:
        got = distillation.attention_loss(left, torch.ones(1, 1, 3))
    except ValueError:
        return
    raise AssertionError(f"maps of two positions and of one do not fit: a ValueError was expected, got {got}")


def test_attention_loss_of_a_silent_layer_is_finite():
    zero, teacher = torch.zeros(2, 3, 2, 2, requires_grad=True), torch.ones(2, 3, 2, 2)
    loss = distillation.attention_loss(zero, teacher)
    loss.backward()
    assert torch.isfinite(loss), f"a layer whose features are all zero gives a loss of {loss.item()}"
    assert torch.isfinite(zero.grad).all(), "its gradient is NaN or infinite: what is divided by the norm when it is 0?"


def test_attention_loss_trains_the_student_alone():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, c, 3, 3, generator=generator, requires_grad=True) for c in (2, 6))
    distillation.attention_loss(student, teacher).backward()
    assert teacher.grad is None, "a gradient reached the teacher's features: detach them"
    assert student.grad is not None and student.grad.any(), "no gradient reached the student's features"


def test_plan_stages_by_the_rule():
    for parameters, compression, architecture, expected in (
        (1000, 1, "transformer", [1000]),
        (1000, 4, "transformer", [250]),
        (160_000, 16, "transformer", [40_000, 10_000]),
        (1000, 5, "transformer", [447, 200]),
        (1000, 5, "cnn", [200]),  # 5 times 0.8 is 4
        (1000, 20, "cnn", [224, 50]),
        (1000, 4, "rnn", [500, 250]),  # 4 times 1.2 is over 4
    ):
        got = distillation.plan_stages(parameters, compression, architecture)
        case = f"{parameters} parameters, {compression}x smaller, {architecture}"
        assert list(got) == expected, f"{case}: expected {expected} after the stages, got {got}"


def test_plan_stages_warns_beyond_two_stages():
    for compression, architecture, expected in (
        (125, "transformer", [200, 40, 8]),
        (15, "rnn", [405, 164, 67]),
        (27, "cnn", [333, 111, 37]),
        (16, "transformer", None),
        (20, "cnn", None),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = distillation.plan_stages(1000, compression, architecture)
        case = f"1000 parameters, {compression}x smaller, {architecture}"
        assert bool(caught) == bool(expected), f"{case}: {'expected a warning' if expected else 'this needs no warning'}"
        assert not expected or list(got) == expected, f"{case}: expected {expected} after the stages, got {got}"
        assert all(issubclass(one.category, UserWarning) for one in caught), f"{case}: warn by warnings.warn(text)"


def test_scale_model_searches_width_and_depth():
    for model, target, expected in (
        (models.DigitsCNN(), 61_500, {"width": 15}),  # 54,490; width 16 has 61,866
        (models.DigitsCNN(), 61_866, {"width": 16}),
        (models.CifarCNN(), 27_247, {"width": 5, "blocks": 3}),
        (models.CifarCNN(), 69_000, {"width": 10, "blocks": 2}),  # the largest of three that differ by 285
        (models.Transformer(), 30_000, {"width": 24, "depth": 4}),
        (models.Transformer(width=24, depth=2, heads=3), 9_000, {"width": 18, "depth": 2}),
        (models.Transformer(width=4, depth=2, heads=1), 629, {"width": 3, "depth": 2}),  # not width 5, depth 1
    ):
        student = distillation.scale_model(model, target)
        name, count = type(model).__name__, metrics.count_parameters(student)
        assert type(student) is type(model), f"a smaller {name} is a {name}, got {type(student).__name__}"
        assert count <= target, f"{name} of at most {target} parameters: yours has {count}"
        got = {setting: student.settings[setting] for setting in expected}
        assert got == expected, f"{name} of at most {target} parameters: expected {expected}, got {got} with {count}"


def test_scale_model_gives_a_new_model():
    model = models.Transformer(width=8, depth=2, heads=2)
    before = copy.deepcopy(model.state_dict())
    student = distillation.scale_model(model, 2_000)
    assert student.settings["heads"] == 2 and student.settings["patch"] == 2, f"keep the other settings: {student.settings}"
    shared = {*student.parameters()} & {*model.parameters()}
    assert not shared, f"{len(shared)} parameters are those of the large model itself"
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed and model.settings["width"] == 8, f"the large model was changed: {', '.join(changed)}"
    assert student(torch.zeros(3, 1, 8, 8)).shape == (3, 10), "the student should read images as the model does"


def test_scale_model_refuses_what_is_too_small():
    for model, target in ((models.DigitsCNN(), 100), (models.Transformer(), 300)):
        error = None
        try:
            distillation.scale_model(model, target)
        except Exception as raised:
            error = raised
        case = f"a {type(model).__name__} of {target} parameters"
        assert isinstance(error, ValueError), f"{case} does not exist: expected a ValueError, got {error!r}"


def check_second_choice(answer, probabilities):
    """`probabilities` (10,) are the teacher's for one image; the answer is the class that it ranks second."""
    assert len(probabilities) == 10 and abs(float(sum(probabilities)) - 1) < 1e-4, "expected soft targets of ten classes"
    ranked = sorted(range(10), key=lambda label: -float(probabilities[label]))
    assert answer in ranked, f"the answer is a digit, 0 to 9, got {answer!r}"
    assert answer != ranked[0], f"{answer} is the class that the teacher prefers, not its second choice"
    assert answer == ranked[1], f"the teacher gives {answer} a probability of {float(probabilities[answer]):.1%}, another more"


def check_fading(answer, norms):
    """`norms` {temperature: gradient norm without T²}; the answer is how many times smaller it is at 8 than at 4."""
    assert {4, 8} <= set(norms), f"the norms at temperatures 4 and 8 are needed, got those at {sorted(norms)}"
    assert norms[4] > norms[8] > 0, f"without T² the norm should fall from 4 to 8, you measured {norms[4]} and {norms[8]}"
    expected = norms[4] / norms[8]
    right = isinstance(answer, (int, float)) and abs(answer - expected) < 0.05 * expected
    assert right, f"you measured {norms[4]:.4g} at 4 and {norms[8]:.4g} at 8, a ratio of {expected:.2f}: got {answer!r}"


def check_success(teacher, student, alone, few, student_accuracy, alone_accuracy):
    """A student of at most 10% of the teacher's parameters beats `alone`, which saw `few`'s labels only, on test."""
    assert isinstance(teacher, models.Transformer), f"the teacher is a Transformer, got {type(teacher).__name__}"
    count, other = (metrics.count_parameters(m) if isinstance(m, models.DigitsCNN) else None for m in (student, alone))
    assert count and count == other, f"student and alone are DigitsCNNs of one size, got {count} and {other} parameters"
    assert student is not alone, "student and alone are one network: train two copies"
    share = count / metrics.count_parameters(teacher)
    assert share <= 0.1, f"the student has {share:.1%} of the teacher's parameters, at most 10% are allowed"
    assert len(few.train.y) <= 50, f"50 labels are allowed, `few` has {len(few.train.y)}"
    test = data.load("digits").test
    for name, model, said in (("distilled student", student, student_accuracy), ("one alone", alone, alone_accuracy)):
        measured = training.evaluate(model, test)
        right = isinstance(said, float) and abs(measured - said) < 0.003
        assert right, f"the {name} reads {measured:.2%} of the test images right, you say {said!r}"
    assert alone_accuracy > 0.6, f"50 labels alone are enough for over 60%, yours {alone_accuracy:.2%}: train it as long"
    gain = 100 * (student_accuracy - alone_accuracy)
    assert gain >= 5, f"the teacher should be worth 5 pp on test, you gained {gain:.2f} pp: did it speak of the unlabelled?"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors as small as these gain nothing from a second thread, and lose much on a busy machine."""
    with metrics.torch_threads(1):
        yield


def tiny_data(n=40, classes=10, seed=0):
    """Noise with balanced labels, in the shape of digits."""
    generator = torch.Generator().manual_seed(seed)
    split = data.Split(torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % classes)
    return data.Dataset("noise", split, split, split, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))


def pair(seed=0):
    torch.manual_seed(seed)
    return models.DigitsCNN(width=2), models.DigitsCNN(width=3)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


LOGITS = st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=5)


@settings(deadline=None)
@given(LOGITS, st.floats(0.1, 100))
def test_soft_targets_are_probabilities_in_the_order_of_the_logits(rows, temperature):
    logits = torch.tensor(rows, dtype=torch.float64)
    p = distillation.soft_targets(logits, temperature)
    assert torch.allclose(p.sum(1), torch.ones(len(rows), dtype=torch.float64)) and p.dtype == torch.float64
    assert (p.gather(1, logits.argsort(1)).diff(dim=1) >= 0).all()
    hotter = distillation.soft_targets(logits, 2 * temperature)
    assert (hotter.amax(1) <= p.amax(1) + 1e-12).all()


@settings(deadline=None)
@given(LOGITS, st.floats(0.1, 100), st.floats(0, 1))
def test_a_student_that_agrees_with_its_teacher_has_no_divergence_left(rows, temperature, alpha):
    logits, labels = torch.tensor(rows, dtype=torch.float64), torch.zeros(len(rows), dtype=torch.int64)
    loss = distillation.distillation_loss(logits + 7, logits, labels, temperature, alpha)  # a shift changes no softmax
    assert torch.allclose(loss, (1 - alpha) * F.cross_entropy(logits, labels), atol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_loss_and_gradient_are_those_of_torch_in_both_precisions(dtype, tolerance):
    student, teacher = (2 * torch.randn(2, 9, 5, dtype=dtype, generator=torch.Generator().manual_seed(3))).unbind()
    labels = torch.arange(9) % 5
    student.requires_grad_()
    kl = F.kl_div(F.log_softmax(student / 5, 1), F.softmax(teacher / 5, 1), reduction="batchmean")
    theirs = 0.75 * 25 * kl + 0.25 * F.cross_entropy(student, labels)
    yours = distillation.distillation_loss(student, teacher, labels, 5, 0.75)
    assert abs(yours - theirs) < tolerance * theirs
    expected, got = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (theirs, yours))
    assert (expected - got).abs().max() < tolerance


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=f"temperature must be above 0 and finite, got {temperature}"):
        distillation.soft_targets(logits, temperature)
    with pytest.raises(ValueError, match="temperature"):
        distillation.distillation_loss(logits, logits, torch.tensor([0, 1]), temperature, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ValueError, match=f"0 to 1: got {alpha}"):
        distillation.distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 1]), 2, alpha)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (1, 3)])
def test_logits_of_two_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(2, 3\) and " + str(shape).replace("(", r"\(").replace(")", r"\)")):
        distillation.distillation_loss(torch.zeros(2, 3), torch.zeros(shape), torch.tensor([0, 1]), 2, 0.5)


def test_features_that_do_not_fit_are_refused_with_their_shapes():
    four, nine = torch.ones(2, 3, 2, 2), torch.ones(2, 3, 3, 3)
    with pytest.raises(ValueError, match=r"\(2, 4, 3\) do not fit the hint's \(2, 9, 3\)"):
        distillation.hint_loss(four, nine, nn.Identity())
    with pytest.raises(ValueError, match="4 and 9 positions"):
        distillation.attention_loss(four, nine)
    with pytest.raises(ValueError, match=r"got \(2, 10\)"):
        distillation.attention_loss(four, torch.ones(2, 10))


def test_attention_loss_is_two_minus_two_cosines():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(5, 3, 4, 4, generator=generator), torch.randn(5, 16, 7, generator=generator)
    cosine = F.cosine_similarity(student.pow(2).mean(1).flatten(1), teacher.pow(2).mean(2), dim=1)
    assert distillation.attention_loss(student, teacher).item() == pytest.approx(2 - 2 * cosine.mean().item(), abs=1e-6)


def test_distill_trains_the_student_and_leaves_the_teacher_as_it_was():
    student, teacher = pair()
    teacher.train()
    teacher.bn2.eval()
    teacher.fc1.bias.requires_grad = False
    before, untrained = state(teacher), state(student)
    history = distillation.distill(student, teacher, tiny_data(), 2, progress=False)
    assert [row["epoch"] for row in history] == [0, 1]
    assert same(teacher, before) and not same(student, untrained)
    assert teacher.training and teacher.bn1.training and not teacher.bn2.training
    assert [p.requires_grad for p in teacher.parameters()].count(False) == 1
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_teacher_is_put_back_after_an_error():
    student, teacher = pair()
    teacher.train()
    with pytest.raises(TypeError):
        distillation.distill(student, teacher, tiny_data(), 1, no_such_option=1)
    assert teacher.training and all(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module._forward_hooks for model in (student, teacher) for module in model.modules())


def test_with_alpha_0_and_no_unlabelled_images_distill_is_ordinary_training():
    student, teacher = pair()
    alone = copy.deepcopy(student)
    distillation.distill(student, teacher, tiny_data(), 2, alpha=0, seed=3, progress=False)
    training.train(alone, tiny_data(), 2, seed=3, progress=False)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(student.parameters(), alone.parameters()))


def test_asking_the_teacher_once_gives_what_asking_it_each_time_gives():
    student, teacher = pair()
    other = copy.deepcopy(student)
    distillation.distill(student, teacher, tiny_data(), 2, progress=False)
    distillation.distill(other, teacher, tiny_data(), 2, augment=lambda x, generator: x, progress=False)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(student.parameters(), other.parameters()))


def test_the_teacher_sees_the_augmented_image_that_the_student_sees():
    student, teacher = pair()
    seen = {"student": [], "teacher": []}
    for name, model in (("student", student), ("teacher", teacher)):
        model.conv1.register_forward_pre_hook(lambda module, args, name=name: seen[name].append(args[0]))
    distillation.distill(student, teacher, tiny_data(), 1, augment=lambda x, generator: x.flip(3), progress=False)
    assert seen["teacher"] and all(torch.equal(a, b) for a, b in zip(seen["student"], seen["teacher"]))


def test_unlabelled_images_are_learned_from_and_their_labels_never_asked_for():
    digits = tiny_data(60)
    few, rest = distillation.few_labels(digits, 10)
    student, teacher = pair()
    scrambled = replace(few, train=data.Split(few.train.x, few.train.y.flip(0)))
    other, without = copy.deepcopy(student), copy.deepcopy(student)
    distillation.distill(student, teacher, few, 1, alpha=1.0, unlabelled=rest, progress=False)
    distillation.distill(other, teacher, scrambled, 1, alpha=1.0, unlabelled=rest, progress=False)
    distillation.distill(without, teacher, few, 1, alpha=1.0, progress=False)
    assert same(other, student.state_dict()) and not same(without, student.state_dict())


def test_distilled_student_beats_the_one_that_has_few_labels_alone():
    digits = data.load("digits")
    torch.manual_seed(0)
    teacher, student = models.DigitsCNN(width=8), models.DigitsCNN(width=3)
    training.train(teacher, digits, 5, progress=False)
    few, rest = distillation.few_labels(digits, 20)
    alone = copy.deepcopy(student)
    distilled = distillation.distill(student, teacher, few, 8, unlabelled=rest, progress=False)[-1]["accuracy"]
    assert distilled > training.train(alone, few, 8 * 17, progress=False)[-1]["accuracy"] + 0.1


def test_match_adds_losses_of_features_and_leaves_no_hook_behind():
    student, teacher = pair()
    zero, one = copy.deepcopy(student), copy.deepcopy(student)
    names = ("relu3", "layers.1")
    torch.manual_seed(1)
    teacher = models.Transformer(width=8, depth=2, heads=2)
    shapes = []

    def compare(mine, theirs):
        shapes.append((tuple(mine.shape), tuple(theirs.shape), mine.requires_grad, theirs.requires_grad))
        return 0 * mine.sum()

    distillation.distill(student, teacher, tiny_data(), 2, progress=False)
    distillation.distill(zero, teacher, tiny_data(), 2, match={names: compare}, progress=False)
    distillation.distill(one, teacher, tiny_data(), 2, match={names: distillation.attention_loss}, progress=False)
    assert shapes == [((40, 8, 4, 4), (40, 16, 8), True, False)] * 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(student.parameters(), zero.parameters()))
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(student.parameters(), one.parameters()))
    assert not any(module._forward_hooks for model in (zero, teacher) for module in model.modules())


def test_a_hint_is_trained_along_and_its_loss_falls():
    student, _ = pair()
    teacher = models.Transformer(width=8, depth=2, heads=2)
    hint = distillation.Hint(8, 8)
    before, losses = state(hint), []
    hint.register_forward_hook(lambda module, args, output: losses.append(output.item()))
    distillation.distill(student, teacher, tiny_data(), 20, match={("relu3", "layers.1"): hint}, progress=False)
    assert not same(hint, before) and losses[-1] < 0.8 * losses[0]


def test_a_run_with_a_hint_goes_on_from_its_checkpoint(tmp_path):
    class Stop:
        def before_epoch(self, run):
            if run.epoch == 1:
                raise KeyboardInterrupt

    results = []
    for interrupted in (False, True):
        student, _ = pair()
        torch.manual_seed(2)
        teacher, hint = models.Transformer(width=8, depth=1, heads=2), distillation.Hint(8, 8)
        run = partial(
            distillation.distill, student, teacher, tiny_data(), 3, match={("relu3", "layers.0"): hint}, progress=False
        )
        path = tmp_path / f"{interrupted}.state"
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                run(checkpoint=path, callbacks=[Stop()])
        run(checkpoint=path)
        results.append(state(student))
    assert same(student, results[0])


def test_teacher_and_student_on_two_devices_are_refused_by_name():
    student, teacher = pair()
    with pytest.raises(ValueError, match="student is on cpu, the teacher on meta"):
        distillation.distill(student, teacher.to("meta"), tiny_data(), 1)


def test_a_student_that_shares_parameters_with_its_teacher_is_refused():
    student, _ = pair()
    with pytest.raises(ValueError, match="share parameters"):
        distillation.distill(student, nn.Sequential(student), tiny_data(), 1)
    assert student.training and all(parameter.requires_grad for parameter in student.parameters())


def test_a_teacher_without_parameters_may_teach():
    class Certain(nn.Module):
        def forward(self, x):
            return 9 * F.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()

    student, _ = pair()
    assert len(distillation.distill(student, Certain(), tiny_data(), 1, progress=False)) == 1


def test_a_teacher_of_other_classes_is_refused():
    student, teacher = pair()
    teacher.fc2 = nn.Linear(27, 7)
    with pytest.raises(ValueError, match=r"\(40, 10\) and \(40, 7\)"):
        distillation.distill(student, teacher, tiny_data(), 1, progress=False)


@pytest.mark.parametrize("options", [{}, {"augment": lambda x, generator: x}])
def test_a_teacher_that_gives_nan_is_blamed_for_it(options):
    student, teacher = pair()
    teacher.fc2.bias.data[0] = math.nan
    with pytest.raises(ValueError, match="teacher's logits are not all finite"):
        distillation.distill(student, teacher, tiny_data(), 1, progress=False, **options)


def test_progressive_distillation_trains_each_model_by_the_one_before_it(tmp_path):
    torch.manual_seed(0)
    teacher, assistant, student = (models.DigitsCNN(width=width) for width in (4, 3, 2))
    by_hand = copy.deepcopy([assistant, student])
    taught = state(teacher)
    options = {"temperature": 2.0, "seed": 5, "progress": False}
    histories = distillation.progressive_distill(
        teacher, assistant, student, data=tiny_data(), epochs=2, checkpoint=tmp_path / "run", **options
    )
    distillation.distill(by_hand[0], teacher, tiny_data(), 2, **options)
    distillation.distill(by_hand[1], by_hand[0], tiny_data(), 2, **options)
    assert [len(history) for history in histories] == [2, 2]
    assert same(assistant, by_hand[0].state_dict()) and same(student, by_hand[1].state_dict()) and same(teacher, taught)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.1", "run.2"]


def test_progressive_distillation_refuses_one_model_and_one_optimizer_for_all():
    teacher, student = pair()
    with pytest.raises(ValueError, match="got 1 models"):
        distillation.progressive_distill(teacher, data=tiny_data(), epochs=1)
    with pytest.raises(ValueError, match="no optimizer"):
        optimizer = torch.optim.SGD(student.parameters(), 0.1)
        distillation.progressive_distill(teacher, student, data=tiny_data(), epochs=1, optimizer=optimizer)


@settings(deadline=None)
@given(st.integers(1, 10**12), st.floats(1, 100), st.sampled_from(sorted(distillation.DIFFICULTY)))
def test_a_plan_falls_evenly_to_the_asked_size(parameters, compression, architecture):
    compression = min(compression, parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = distillation.plan_stages(parameters, compression, architecture)
    assert 1 <= len(plan) <= 3 and plan[-1] == round(parameters / compression)
    factors = [before / max(after, 0.5) for before, after in zip([parameters, *plan], plan)]
    if plan[-1] > 10_000:
        assert max(factors) == pytest.approx(min(factors), rel=1e-3)
        assert len(plan) == 3 or max(factors) * distillation.DIFFICULTY[architecture] ** (1 / len(plan)) <= 4.001


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1000, 0.5), "got 0.5"),
        ((1000, math.nan), "got nan"),
        ((1000, 1001), "1000, got 1001"),
        ((1000, 4, "mlp"), "'mlp'"),
    ],
)
def test_plan_stages_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        distillation.plan_stages(*arguments)


@pytest.mark.parametrize("model", [models.CifarCNN(), models.Transformer(), models.Transformer(width=32, heads=2, depth=3)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.9])
def test_scaled_models_come_within_a_quarter_of_the_target_and_never_above(model, share):
    target = round(share * metrics.count_parameters(model))
    count = metrics.count_parameters(distillation.scale_model(model, target))
    assert 0.75 * target <= count <= target


def test_count_at_is_the_count_of_the_model_that_is_built():
    for model, settings_ in (
        (models.DigitsCNN(), {"width": 7}),
        (models.DigitsCNN(size=28), {}),
        (models.CifarCNN(), {"width": 5, "blocks": 2}),
        (models.Transformer(), {"width": 12, "depth": 2}),
    ):
        built = type(model)(**model.settings | settings_)
        assert distillation.count_at(model, **settings_) == metrics.count_parameters(built)


def test_a_scaled_model_has_the_type_of_its_numbers_and_the_callers_seed():
    torch.manual_seed(5)
    first = distillation.scale_model(models.DigitsCNN().double(), 10_000)
    assert first.conv1.weight.dtype == torch.float64
    model = models.DigitsCNN()
    torch.manual_seed(5)
    second = distillation.scale_model(model, 10_000)
    torch.manual_seed(5)
    assert same(second, models.DigitsCNN(width=second.settings["width"]).state_dict())


def test_a_model_of_ones_own_with_settings_can_be_scaled():
    class Mine(nn.Linear):
        def __init__(self, width):
            super().__init__(width, width)
            self.settings = {"width": width}

    assert distillation.scale_model(Mine(20), 100).settings == {"width": 9}  # 9 * 9 + 9


def test_a_model_that_its_settings_do_not_rebuild_any_more_is_refused():
    transformer, digits = models.Transformer(width=8, heads=2), models.DigitsCNN(width=4)
    for smaller in (
        structured.drop_layers(transformer, [0, 2]),
        structured.prune_heads(transformer, 0.5),
        structured.prune_channels(digits, torch.zeros(1, 1, 8, 8), 0.5),
    ):
        with pytest.raises(ValueError, match=r"settings \{'width': \d.* no longer the model's"):
            distillation.scale_model(smaller, 500)


@pytest.mark.parametrize("model", [nn.Linear(3, 3), models.LeNet300()])
def test_models_that_are_not_the_courses_are_refused(model):
    with pytest.raises(TypeError, match=type(model).__name__):
        distillation.scale_model(model, 5)


@pytest.mark.parametrize("target", [0, -5, 243_531, math.nan])
def test_a_target_outside_of_1_to_the_models_size_is_refused(target):
    with pytest.raises(ValueError, match=f"243,530, got {target}"):
        distillation.scale_model(models.DigitsCNN(), target)


def test_few_labels_are_balanced_and_nothing_is_lost():
    digits = data.load("digits")
    few, rest = distillation.few_labels(digits, 50, seed=1)
    assert few.train.y.bincount().tolist() == [5] * 10 and few.test is digits.test
    everything = torch.cat([few.train.x, rest]).flatten(1)
    assert torch.equal(everything.sort(0).values, digits.train.x.flatten(1).sort(0).values)
    other, _ = distillation.few_labels(digits, 50, seed=2)
    assert not torch.equal(few.train.x, other.train.x)
    again, _ = distillation.few_labels(digits, 50, seed=1)
    assert torch.equal(few.train.x, again.train.x)


@pytest.mark.parametrize("count", [0, 15, 10_000])
def test_few_labels_refuses_what_cannot_be_balanced(count):
    with pytest.raises(ValueError, match=f"got {count}"):
        distillation.few_labels(data.load("digits"), count)


def test_check_second_choice_takes_the_right_answer_only():
    p = torch.full((10,), 0.01)
    p[3], p[8] = 0.6, 0.32
    check_second_choice(8, p)
    for wrong in (None, 3, 1, 10, "8"):
        with pytest.raises(AssertionError):
            check_second_choice(wrong, p)


def test_check_fading_takes_the_measured_ratio_only():
    norms = {1: 0.5, 2: 0.2, 4: 0.06, 8: 0.016}
    check_fading(3.75, norms)
    for wrong in (None, 2, 0.26, "3.75"):
        with pytest.raises(AssertionError):
            check_fading(wrong, norms)
    with pytest.raises(AssertionError, match="should fall"):
        check_fading(1.0, {4: 1.0, 8: 1.0})


def test_check_success_takes_a_small_student_that_gained_only():
    digits = data.load("digits")
    few, _ = distillation.few_labels(digits, 50)
    torch.manual_seed(0)
    untrained, teacher = models.DigitsCNN(width=4), models.Transformer(depth=2)
    student, alone, bad = (copy.deepcopy(untrained) for _ in range(3))
    training.train(student, digits, 6, progress=False)
    often = data.Split(few.train.x.repeat(10, 1, 1, 1), few.train.y.repeat(10))
    training.train(alone, replace(few, train=often), 8, progress=False)
    high, low, guess = (training.evaluate(model, digits.test) for model in (student, alone, bad))
    check_success(teacher, student, alone, few, high, low)
    for wrong in (
        (None, None, None, None, None, None),
        (teacher, None, None, few, high, low),
        (teacher, student, models.DigitsCNN(), few, high, low),
        (teacher, student, student, few, high, high),
        (models.Transformer(width=16), student, alone, few, high, low),
        (teacher, student, alone, digits, high, low),
        (teacher, student, alone, few, 0.999, low),
        (teacher, student, alone, few, high, 0.62),
        (teacher, student, bad, few, high, guess),
        (teacher, alone, student, few, low, high),
        (teacher, student, alone, few, None, low),
    ):
        with pytest.raises(AssertionError):
            check_success(*wrong)
