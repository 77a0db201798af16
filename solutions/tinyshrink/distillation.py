"""Distillation: a large network, the teacher, trains a small one, the student, with all that it says of an image.

A label says "3". A teacher says "3, though it has much of an 8 and nothing of a 1". Sources: Hinton et al. 2015,
https://arxiv.org/abs/1503.02531 (soft targets); Romero et al. 2015, https://arxiv.org/abs/1412.6550 (hints); Zagoruyko &
Komodakis 2017, https://arxiv.org/abs/1612.03928 (attention); Mirzadeh et al. 2020, https://arxiv.org/abs/1902.03393 (stages).
"""

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from . import metrics, training
from .data import Dataset, Split

UNLABELLED = -100  # the label of an image that has none; F.cross_entropy leaves it out
DIFFICULTY = {"cnn": 0.8, "transformer": 1.0, "rnn": 1.2}  # recurrent networks are the hardest to shrink
DEPTHS = ("depth", "blocks")  # what the course's models call the number of their layers


def soft_targets(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Turn logits into probabilities, softened by a temperature: softmax(logits / temperature).

    At 1 these are the ordinary probabilities. The higher the temperature, the more of the wrong classes can be seen.
    Arguments: logits (N, classes); temperature > 0. Returns (N, classes), rows that sum to 1.
    Raises ValueError for a temperature that is not above 0 and finite.

    Example: logits [[0, ln 9]] give [[0.1, 0.9]] at temperature 1 and [[0.25, 0.75]] at temperature 2.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
    return torch.softmax(logits / temperature, dim=1)


def distillation_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor, temperature: float, alpha: float
) -> torch.Tensor:
    """Mix what the teacher says with what the labels say: alpha * T² * KL + (1 - alpha) * CE, as a mean over the batch.

    KL is the divergence sum of p * (log p - log q) over the classes, p the teacher's soft targets and q the student's, both
    at temperature T. CE is the cross entropy of the student's logits (at temperature 1) with the labels. An image with the
    label UNLABELLED (-100) has no CE, but counts in the mean: a batch without labels is no division by zero.

    Arguments: logits (N, classes); labels int64 (N,); alpha 0..1, the teacher's share. Returns a scalar, whose gradient
    reaches the student alone. Raises ValueError for alpha outside 0..1, logits of two shapes, and as soft_targets.

    Hint: the logarithm of a tiny softmax is -inf; torch.log_softmax is not. F.cross_entropy can add up with
    reduction="sum", and gives 0 to labels of -100.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the teacher's share of the loss, 0 to 1: got {alpha}")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"one shape of logits is needed, got {(*student_logits.shape,)} and {(*teacher_logits.shape,)}")
    teacher_logits = teacher_logits.detach()
    p = soft_targets(teacher_logits, temperature)
    log_p, log_q = (torch.log_softmax(logits / temperature, dim=1) for logits in (teacher_logits, student_logits))
    kl = (p * (log_p - log_q)).sum(1).mean()
    ce = F.cross_entropy(student_logits, labels, reduction="sum", ignore_index=UNLABELLED) / len(labels)
    return alpha * temperature**2 * kl + (1 - alpha) * ce


def positions(features: torch.Tensor) -> torch.Tensor:
    """Features as (N, positions, channels): from a CNN's (N, C, H, W), or a transformer's (N, tokens, C) as they are."""
    if features.ndim not in (3, 4):
        raise ValueError(f"features are (N, C, H, W) or (N, tokens, C), got {tuple(features.shape)}: name another layer")
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features


def hint_loss(student_features: torch.Tensor, teacher_features: torch.Tensor, projection: nn.Module) -> torch.Tensor:
    """Compare features inside two networks of different widths: the mean squared error after a projection.

    At each position of the image the student's channels go through `projection`, which is trained along, to as many
    channels as the teacher has there. No gradient reaches the teacher.

    Arguments: features (N, C, H, W) or (N, tokens, C), each network with its own C, at the same positions; projection,
    (N, positions, C of the student) to (N, positions, C of the teacher), such as nn.Linear. Returns a scalar.
    Raises ValueError where the shapes do not fit. Hint: positions(features).
    """
    mine, hint = projection(positions(student_features)), positions(teacher_features).detach()
    if mine.shape != hint.shape:
        raise ValueError(f"projected features {tuple(mine.shape)} do not fit the hint's {tuple(hint.shape)}")
    return (mine - hint).square().mean()


def attention_loss(student_features: torch.Tensor, teacher_features: torch.Tensor) -> torch.Tensor:
    """Compare *where* two networks look, whatever their widths: the squared distance of their attention maps.

    The map of an image is the mean over the channels of the squared features, one number for each position, divided by its
    L2 norm over the positions. The loss is the squared distance of student's and teacher's map, summed over the positions,
    a mean over the batch: 0 for equal maps, at most 2. A layer that is silent, all zeros, is no NaN. No gradient reaches
    the teacher.

    Arguments: features (N, C, H, W) or (N, tokens, C), at the same positions. Returns a scalar. Raises ValueError for
    features that do not fit. Hint: positions(features); F.normalize.
    """
    mine, hint = (
        F.normalize(positions(features).square().mean(2), dim=1) for features in (student_features, teacher_features.detach())
    )
    if mine.shape != hint.shape:
        raise ValueError(f"maps of {mine.shape[1]} and {hint.shape[1]} positions: name layers with images of one size")
    return (mine - hint).square().sum(1).mean()


class Hint(nn.Module):
    """hint_loss with a projection of its own, for the `match` of distill, which trains it along with the student."""

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        self.projection = nn.Linear(student_channels, teacher_channels)

    def forward(self, student_features: torch.Tensor, teacher_features: torch.Tensor) -> torch.Tensor:
        return hint_loss(student_features, teacher_features, self.projection)


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Hold a model still: inside the `with` block it is in eval mode and none of its parameters takes a gradient.

    Gives the model. Others, such as a student that is trained meanwhile, take gradients as before. In the end, also after an
    error, each module is back in the mode that it had before, and each parameter takes gradients if it did before: parts may
    have been frozen already.

    Example: with frozen(teacher): answers = teacher(images)
    Hint: model.modules() and model.parameters() say what there is to remember; yield between try: and finally:.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    finally:
        for module, training_mode in modes:
            module.training = training_mode
        for parameter, takes_gradient in gradients:
            parameter.requires_grad = takes_gradient


def distill(
    student: nn.Module,
    teacher: nn.Module,
    data: Dataset,
    epochs: int,
    *,
    temperature: float = 4.0,
    alpha: float = 0.9,
    unlabelled: torch.Tensor | None = None,
    match: Mapping[tuple[str, str], Callable] | None = None,
    **options,
) -> list[dict]:
    """Train `student` in place by `teacher`, with distillation_loss on data.train, and return the history (training.train).

    Arguments: unlabelled, more images (M, ...), which the teacher alone speaks of; match, losses of features to be added,
    {(student's layer, teacher's layer): loss(student_features, teacher_features)}, such as attention_loss or a Hint, by
    module names; a loss that is a module is trained along (an `optimizer` of your own must hold its parameters too);
    options, those of training.train (lr, augment, seed, ...).
    The teacher is `frozen` for the duration. It is asked once an image where that is enough: no `augment`, no `match`.
    Raises ValueError for models on two devices or with shared parameters and for a teacher that gives NaN or infinity.
    """
    device = next(student.parameters()).device
    elsewhere = {str(parameter.device) for parameter in teacher.parameters()} - {str(device)}
    if elsewhere:
        raise ValueError(f"the student is on {device}, the teacher on {', '.join(elsewhere)}: give teacher.to(device)")
    if not {*student.parameters()}.isdisjoint(teacher.parameters()):
        raise ValueError("student and teacher share parameters, which would freeze the student: give copy.deepcopy(...)")
    x, labels = data.train
    if unlabelled is not None:
        x, labels = torch.cat([x, unlabelled.to(x)]), F.pad(labels, (0, len(unlabelled)), value=UNLABELLED)
    labels, seen = labels.to(device), {}

    @torch.no_grad()
    def answer(x):
        logits = teacher(x.to(device))
        if not torch.isfinite(logits).all():
            raise ValueError("the teacher's logits are not all finite: is it trained, and given the images it was trained on?")
        return logits

    def loss(model, x, index):
        teacher_logits = answer(x) if known is None else known[index]
        value = distillation_loss(model(x), teacher_logits, labels[index], temperature, alpha)
        return value + sum(compare(seen[0, mine], seen[1, theirs]) for (mine, theirs), compare in match.items())

    match = match or {}
    pupil = _Pupil(student, [compare for compare in match.values() if isinstance(compare, nn.Module)]).to(device)
    with ExitStack() as undo:
        undo.enter_context(frozen(teacher))
        for key in {(side, names[side]) for names in match for side in (0, 1)}:
            layer = (student, teacher)[key[0]].get_submodule(key[1])
            undo.callback(layer.register_forward_hook(lambda module, args, out, key=key: seen.update({key: out})).remove)
        once = not match and options.get("augment") is None
        known = torch.cat([answer(part) for part in x.split(1000)]) if once else None
        numbered = replace(data, train=Split(x, torch.arange(len(x))))  # the loop hands the numbers to `loss`
        return training.train(pupil if len(pupil.along) else student, numbered, epochs, loss=loss, **options)


class _Pupil(nn.Module):
    """A student, and what is trained along with it and thrown away after."""

    def __init__(self, student, along):
        super().__init__()
        self.student, self.along = student, nn.ModuleList(along)

    def forward(self, x):
        return self.student(x)


def progressive_distill(*models: nn.Module, data: Dataset, epochs: int, **options) -> list[list[dict]]:
    """Train all models but the first in place, each by the one before it: teacher, assistants, student.

    Arguments: options, those of distill; a checkpoint gets the number of the stage at its end. Returns the history of each
    stage. Raises ValueError for fewer than two models or an optimizer, which could only know one of them.
    """
    if len(models) < 2 or "optimizer" in options:
        raise ValueError(f"expected a teacher, its students and no optimizer, got {len(models)} models, {', '.join(options)}")
    checkpoint, histories = options.pop("checkpoint", None), []
    for stage, (teacher, student) in enumerate(zip(models, models[1:]), start=1):
        own = {} if checkpoint is None else {"checkpoint": f"{checkpoint}.{stage}"}
        histories.append(distill(student, teacher, data, epochs, **options, **own))
    return histories


def plan_stages(parameters: int, compression: float, architecture: str = "transformer") -> list[int]:
    """Plan how a teacher becomes a student `compression` times smaller in steps: the parameters after each stage.

    What counts is the compression times the DIFFICULTY of the architecture: up to 4 one stage, up to 16 two, beyond that
    three, with a warning (UserWarning), since that seldom goes well. Each stage shrinks by the same factor, and the last
    count is round(parameters / compression).

    Arguments: parameters, of the teacher; compression, 1 or more; architecture, "cnn", "transformer" or "rnn".
    Raises ValueError for anything else. Example: plan_stages(160_000, 16) is [40_000, 10_000].
    """
    if architecture not in DIFFICULTY:
        raise ValueError(f"architecture must be one of {', '.join(DIFFICULTY)}, got {architecture!r}")
    if not 1 <= compression <= parameters:
        raise ValueError(f"compression must be from 1 to the number of parameters, {parameters}, got {compression}")
    difficulty = compression * DIFFICULTY[architecture]
    stages = 1 if difficulty <= 4 else 2 if difficulty <= 16 else 3
    if stages == 3:
        warnings.warn(f"{compression:g}x is far for a {architecture}: expect a loss, and measure it", stacklevel=2)
    return [round(parameters / compression ** (stage / stages)) for stage in range(1, stages + 1)]


def count_at(model: nn.Module, **settings) -> int:
    """The parameters of a model of the same class with other settings: count_at(model, width=8). Takes no memory."""
    with torch.device("meta"):
        return metrics.count_parameters(type(model)(**model.settings | settings))


def scale_model(model: nn.Module, target_parameters: int) -> nn.Module:
    """A new, untrained model of the same class, with at most `target_parameters` and as near to them as its shape allows.

    For each depth from 1 to the model's, try the greatest width up to the model's that fits (of a transformer, a multiple of
    its heads). Of these the largest is taken. Among those with at least 95% of the largest's parameters, it is the one whose
    width and depth shrank most alike: the least |log(width / old width) - log(depth / old depth)|.

    Arguments: model, one of the course's, or another whose `settings` rebuild it: width, maybe depth or blocks, maybe heads.
    Raises TypeError for another model, ValueError for one that was made smaller afterwards (by structured.drop_layers, say),
    and for a target above the model's size or below that of the smallest.
    Hint: count_at(model, width=8) counts without building. The size is no simple power of width and depth: search.
    """
    if "width" not in getattr(model, "settings", {}):
        raise TypeError(f"a {type(model).__name__} has no settings with a width (as models.DigitsCNN): build a smaller one")
    if count_at(model) != metrics.count_parameters(model):
        raise ValueError(f"the settings {model.settings} are no longer the model's: give the model that it was cut out of")
    if not 1 <= target_parameters <= count_at(model):
        raise ValueError(f"target_parameters must be from 1 to the model's {count_at(model):,}, got {target_parameters}")
    old, step = model.settings, model.settings.get("heads", 1)
    name = next((name for name in DEPTHS if name in old), None)
    widths, found = range(step, old["width"] + 1, step), []
    for depth in range(1, old.get(name, 1) + 1):
        deep = {name: depth} if name else {}
        fitting = bisect_right(widths, target_parameters, key=lambda width, deep=deep: count_at(model, width=width, **deep))
        if fitting:
            settings = {"width": widths[fitting - 1], **deep}
            unlike = abs(math.log(settings["width"] / old["width"]) - math.log(depth / old.get(name, 1)))
            found.append((count_at(model, **settings), unlike, settings))
    if not found:
        raise ValueError(f"no {type(model).__name__} has only {target_parameters} parameters: too few for any width")
    largest = max(count for count, _, _ in found)
    _, _, settings = min((entry for entry in found if entry[0] >= 0.95 * largest), key=lambda entry: entry[1])
    return type(model)(**old | settings).to(next(model.parameters()))


def few_labels(data: Dataset, count: int, seed: int = 0) -> tuple[Dataset, torch.Tensor]:
    """`data` with only `count` of its training labels, as many of each class, and the other training images, unlabelled.

    Raises ValueError for a count that is no multiple of the number of classes, or too high.
    """
    x, y = data.train
    classes = y.unique()
    each, rest = divmod(count, len(classes))
    if rest or not 1 <= each <= int(y.bincount()[classes].min()):
        raise ValueError(f"count must be a multiple of the {len(classes)} classes that each of them has, got {count}")
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    kept = torch.cat([order[y[order] == label][:each] for label in classes])
    left = torch.ones(len(y), dtype=torch.bool)
    left[kept] = False
    return replace(data, train=Split(x[kept], y[kept])), x[left]
