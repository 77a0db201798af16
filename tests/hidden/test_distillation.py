"""Hidden checks of lesson 04: as in tests/test_distillation.py, with cases drawn from the instructor's seed."""

import copy
import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinyshrink import checking, distillation, metrics, models


def test_soft_targets_on_drawn_logits():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for rows, classes in torch.randint(1, 12, (6, 2), generator=generator).tolist():
        for dtype in (torch.float32, torch.float64):
            logits = 8 * torch.randn(rows, classes, generator=generator, dtype=dtype)
            before = logits.clone()
            temperature = 0.2 + 9 * torch.rand((), generator=generator).item()
            got, expected = distillation.soft_targets(logits, temperature), F.softmax(logits / temperature, dim=1)
            case = f"{rows} x {classes} logits at temperature {temperature:.3f}"
            assert got.shape == expected.shape, f"{case}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
            assert torch.allclose(got, expected, atol=1e-6), f"{case}: off by up to {(got - expected).abs().max():.2g}"
            assert torch.equal(logits, before), f"{case}: the logits given to you were changed"


def test_distillation_loss_on_drawn_logits():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for rows, classes in (torch.randint(2, 12, (6, 2), generator=generator)).tolist():
        student, teacher = (4 * torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)).unbind()
        student.requires_grad_()
        labels = torch.randint(classes, (rows,), generator=generator)
        temperature, alpha = (0.3 + 8 * torch.rand((), generator=generator).item(), torch.rand((), generator=generator).item())
        kl = F.kl_div(F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean")
        theirs = alpha * temperature**2 * kl + (1 - alpha) * F.cross_entropy(student, labels)
        yours = distillation.distillation_loss(student, teacher, labels, temperature, alpha)
        case = f"{rows} x {classes} logits, T = {temperature:.3f}, alpha = {alpha:.3f}"
        assert torch.allclose(yours, theirs, rtol=1e-9), f"{case}: expected {theirs:.9f} as torch gives, got {yours:.9f}"
        expected, got = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (theirs, yours))
        assert torch.allclose(got, expected, rtol=1e-7, atol=1e-10), f"{case}: the gradients are not those of F.kl_div"


def test_distillation_loss_survives_certain_teachers():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    teacher = 300 * torch.randn(6, 5, generator=generator)
    student = (300 * torch.randn(6, 5, generator=generator)).requires_grad_()
    labels = torch.randint(5, (6,), generator=generator)
    p, log_q = F.softmax(teacher, 1), F.log_softmax(student, 1)
    expected = F.kl_div(log_q, p, reduction="batchmean")
    got = distillation.distillation_loss(student, teacher, labels, 1.0, 1.0)
    assert torch.isfinite(got), f"with logits in the hundreds the loss is {got}: take the logarithm inside the softmax"
    assert torch.allclose(got, expected, rtol=1e-4), f"with logits in the hundreds: expected {expected:.4f}, got {got:.4f}"
    (gradient,) = torch.autograd.grad(got, student)
    assert torch.isfinite(gradient).all(), "with logits in the hundreds the gradient is not finite"


def test_distillation_loss_on_drawn_missing_labels():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    student, teacher = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (9,), generator=generator)
    without = torch.rand(9, generator=generator) < 0.5
    without[:2] = torch.tensor([True, False])
    holes = torch.where(without, -100, labels)
    alpha = torch.rand((), generator=generator).item()
    kl = F.kl_div(F.log_softmax(student / 2, 1), F.softmax(teacher / 2, 1), reduction="batchmean")
    ce = F.cross_entropy(student, labels, reduction="none")[~without].sum() / 9
    expected = 4 * alpha * kl + (1 - alpha) * ce
    before = holes.clone()
    got = distillation.distillation_loss(student, teacher, holes, 2.0, alpha)
    case = f"{int(without.sum())} of 9 images without a label, alpha = {alpha:.3f}"
    assert torch.allclose(got, expected), f"{case}: expected {expected:.6f}, got {got:.6f}"
    assert torch.equal(holes, before), f"{case}: the labels given to you were changed"


def test_frozen_on_drawn_models():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Dropout(0.4)))
    for module in model.modules():
        module.training = bool(torch.rand((), generator=generator) < 0.5)
    for parameter in model.parameters():
        parameter.requires_grad = bool(torch.rand((), generator=generator) < 0.5)
    modes = {name: module.training for name, module in model.named_modules()}
    gradients = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    before = copy.deepcopy(model.state_dict())
    with distillation.frozen(model):
        assert not any(module.training for module in model.modules()), "a module is in training mode inside"
        assert not any(parameter.requires_grad for parameter in model.parameters()), "a parameter takes gradients inside"
        model(torch.randn(5, 1, 4, 4, generator=generator))
    for name, module in model.named_modules():
        assert module.training == modes[name], f"{name or 'the model'}: training was {modes[name]}, now {module.training}"
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == gradients[name], f"{name}: requires_grad was {gradients[name]}"
        assert torch.equal(parameter, before[name]), f"{name} was changed"


def test_hint_loss_on_drawn_features():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for n, mine, theirs, height, width in torch.randint(1, 6, (5, 5), generator=generator).tolist():
        student = torch.randn(n, mine, height, width, generator=generator)
        conv, linear = nn.Conv2d(mine, theirs, 1), nn.Linear(mine, theirs)
        conv.weight.data, conv.bias.data = linear.weight.data[:, :, None, None], linear.bias.data
        teacher = torch.randn(n, theirs, height, width, generator=generator)
        expected = F.mse_loss(conv(student), teacher)
        for kind, hint in (("a CNN", teacher), ("a transformer", teacher.flatten(2).transpose(1, 2))):
            got = distillation.hint_loss(student, hint, linear)
            case = f"student {tuple(student.shape)}, hint of {kind} {tuple(hint.shape)}"
            assert torch.allclose(got, expected, rtol=1e-4, atol=1e-6), f"{case}: expected {expected:.6f}, got {got:.6f}"


def test_attention_loss_on_drawn_features():
    generator = torch.Generator().manual_seed(checking.hidden_seed())
    for n, mine, theirs, height, width in torch.randint(1, 6, (5, 5), generator=generator).tolist():
        student = torch.randn(n, mine, height, width, generator=generator)
        teacher = torch.randn(n, theirs, height, width, generator=generator) * 3
        maps = [(features**2).mean(1).flatten(1) for features in (student, teacher)]
        expected = 2 - 2 * F.cosine_similarity(*maps, dim=1).mean()
        for hint in (teacher, teacher.flatten(2).transpose(1, 2)):
            got = distillation.attention_loss(student, hint)
            case = f"student {tuple(student.shape)}, teacher {tuple(hint.shape)}"
            assert torch.allclose(got, expected, rtol=1e-4, atol=1e-6), f"{case}: expected {expected:.6f}, got {got:.6f}"


def test_plan_stages_on_drawn_sizes():
    generator = np.random.default_rng(checking.hidden_seed())
    for architecture, factor in (("cnn", 0.8), ("transformer", 1.0), ("rnn", 1.2)) * 3:
        for low, high, stages in ((1, 4, 1), (4, 16, 2), (16, 200, 3)):
            difficulty = low + (high - low) * generator.uniform(0.02, 0.98)
            compression, parameters = max(1.0, difficulty / factor), int(generator.integers(10**5, 10**8))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                got = distillation.plan_stages(parameters, compression, architecture)
            case = f"{parameters} parameters, {compression:.3f}x smaller, {architecture}"
            assert len(got) == stages, f"{case}: expected {stages} stage(s), got {got}"
            expected = np.geomspace(parameters, parameters / compression, stages + 1)[1:]
            assert np.abs(np.array(got) - expected).max() <= 0.51, f"{case}: expected about {expected}, got {got}"
            assert all(isinstance(count, int) for count in got), f"{case}: parameters are counted in ints, got {got}"
            assert bool(caught) == (stages == 3), f"{case}: {'no ' if not caught else ''}warning, for {stages} stage(s)"


def test_scale_model_on_drawn_targets():
    generator = np.random.default_rng(checking.hidden_seed())
    heads, size = int(generator.integers(1, 5)), 8
    width, depth = heads * int(generator.integers(4, 9)), int(generator.integers(2, 6))

    def count(w, d):  # of the transformer, by hand: patches of 4 pixels, 16 positions, layers, the last norm, ten classes
        return 5 * w + 16 * w + d * (12 * w * w + 13 * w) + 2 * w + 10 * w + 10

    model = models.Transformer(width=width, depth=depth, heads=heads, size=size)
    assert metrics.count_parameters(model) == count(width, depth)
    for share in generator.uniform(0.15, 1.0, 4):
        target = int(share * count(width, depth))
        greatest = [
            (d, max((w for w in range(heads, width + 1, heads) if count(w, d) <= target), default=0))
            for d in range(1, depth + 1)
        ]
        fitting = [(count(w, d), abs(math.log(w / width * depth / d)), w, d) for d, w in greatest if w]
        largest = max(fitting)[0]
        _, _, w, d = min((entry for entry in fitting if entry[0] >= 0.95 * largest), key=lambda entry: entry[1])
        student = distillation.scale_model(model, target)
        got = student.settings["width"], student.settings["depth"]
        case = f"Transformer of width {width}, depth {depth}, heads {heads}, at most {target} parameters"
        assert metrics.count_parameters(student) <= target, f"{case}: got {metrics.count_parameters(student)}"
        assert got == (w, d), f"{case}: expected width {w} and depth {d} with {count(w, d)}, got {got} with {count(*got)}"
    student = distillation.scale_model(models.DigitsCNN(width=16), int(generator.integers(20_000, 61_000)))
    assert isinstance(student, models.DigitsCNN), f"a smaller DigitsCNN is a DigitsCNN, got {type(student).__name__}"
