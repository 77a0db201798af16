import torch

from tinyshrink import degradation
from tinyshrink.degradation import Verdict, acceptable_drop, bootstrap_interval, correct, drop_of


def _parts(model, original, split, allowed):
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = correct(original, split) - correct(model, split)
    return allowed, lost, {label: drop_of(lost[split.y == label]) for label in split.y.unique().tolist()}


def wrong_mean_only(model, original, split, allowed="standard_classification"):
    """Fails test_validate_wants_the_whole_interval: document 000 compares the drop that it measured, as if it were exact."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    reasons = ["too much is lost"] if lost.mean() > allowed else []
    reasons += [f"class {label}" for label, drop in classes.items() if drop.low > allowed]
    return Verdict(allowed, drop_of(lost), classes, reasons)


def wrong_lower_end(model, original, split, allowed="standard_classification"):
    """Fails test_validate_wants_the_whole_interval: says no only where the loss is shown to be too large."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    reasons = ["too much is lost"] if drop_of(lost).low > allowed else []
    reasons += [f"class {label}" for label, drop in classes.items() if drop.low > allowed]
    return Verdict(allowed, drop_of(lost), classes, reasons)


def wrong_no_classes(model, original, split, allowed="standard_classification"):
    """Fails test_validate_looks_at_each_class: one class may be lost whole."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    return Verdict(allowed, drop_of(lost), classes, ["too much"] if drop_of(lost).high > allowed else [])


def wrong_every_class_must_be_shown_good(model, original, split, allowed="standard_classification"):
    """Fails test_validate_accepts_what_is_shown_to_be_good: a hundred examples cannot show that, so nothing ever passes."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    reasons = [f"class {label}" for label, drop in classes.items() if drop.high > allowed]
    return Verdict(allowed, drop_of(lost), classes, reasons + (["too much"] if drop_of(lost).high > allowed else []))


def wrong_mean_of_a_class(model, original, split, allowed="standard_classification"):
    """Fails test_validate_looks_at_each_class: takes the noise of a small class for a loss."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    reasons = [f"class {label}" for label, drop in classes.items() if drop.mean > allowed]
    return Verdict(allowed, drop_of(lost), classes, reasons + (["too much"] if drop_of(lost).high > allowed else []))


def wrong_way_round(model, original, split, allowed="standard_classification"):
    """Fails test_validate_accepts_what_is_shown_to_be_good: compressed minus original, so a loss is below 0."""
    return right_as_given(original, model, split, allowed)


def wrong_unpaired(model, original, split, allowed="standard_classification"):
    """Fails test_validate_compares_in_pairs: two intervals, the best of the original against the worst of the other."""
    allowed, lost, classes = _parts(model, original, split, allowed)
    before, after = bootstrap_interval(correct(original, split)), bootstrap_interval(correct(model, split))
    overall = degradation.Drop(lost.mean().item(), before[0] - after[1], before[1] - after[0])
    reasons = ["too much"] if overall.high > allowed else []
    return Verdict(allowed, overall, classes, reasons + [f"{k}" for k, drop in classes.items() if drop.low > allowed])


def wrong_losses_without_wins(model, original, split, allowed="standard_classification"):
    """Fails test_validate_compares_in_pairs: counts what was lost, and not what was won."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = (correct(original, split) - correct(model, split)).clamp(min=0)
    classes = {label: drop_of(lost[split.y == label]) for label in split.y.unique().tolist()}
    reasons = ["too much"] if drop_of(lost).high > allowed else []
    reasons += [f"class {label}" for label, drop in classes.items() if drop.low > allowed]
    return Verdict(allowed, drop_of(lost), classes, reasons)


def wrong_wrong_answers_of_the_new_one(model, original, split, allowed="standard_classification"):
    """Fails test_validate_compares_in_pairs: all that the compressed model misses, also what the original missed."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = 1 - correct(model, split)
    classes = {label: drop_of(lost[split.y == label]) for label in split.y.unique().tolist()}
    reasons = ["too much"] if drop_of(lost).high > allowed else []
    return Verdict(allowed, drop_of(lost), classes, reasons + [f"{k}" for k, drop in classes.items() if drop.low > allowed])


def wrong_five_percent_for_every_task(model, original, split, allowed="standard_classification"):
    """Fails test_validate_wants_the_whole_interval: whatever the task is called, it may lose 0.05."""
    return right_as_given(model, original, split, 0.05 if isinstance(allowed, str) else allowed)


def wrong_true_for_good(model, original, split, allowed="standard_classification"):
    """Fails test_validate_accepts_what_is_shown_to_be_good: returns True, which a script takes for exit code 1."""
    return not right_as_given(model, original, split, allowed).reasons


def right_as_given(model, original, split, allowed="standard_classification"):
    allowed, lost, classes = _parts(model, original, split, allowed)
    overall = drop_of(lost)
    reasons = [f"up to {overall.high:.4f} may be lost"] if overall.high > allowed else []
    reasons += [f"class {label} loses {drop}" for label, drop in classes.items() if drop.low > allowed]
    return Verdict(allowed, overall, classes, reasons)


def right_one_example_after_the_other(model, original, split, allowed="standard_classification"):
    if isinstance(allowed, str):
        allowed = acceptable_drop(allowed)
    before, after, by_class = correct(original, split), correct(model, split), {}
    for label, was, now in zip(split.y.tolist(), before, after):
        by_class.setdefault(label, []).append(was - now)
    classes = {label: drop_of(sum(values) * 0 + before.new_tensor(values)) for label, values in sorted(by_class.items())}
    verdict = Verdict(allowed, drop_of(before - after), classes, [])
    if not verdict.overall.high <= allowed:
        verdict.reasons.append("not shown to be good")
    for label, drop in classes.items():
        if not drop.low <= allowed:
            verdict.reasons.append(f"class {label} is shown to be bad")
    return verdict


def _verdict_with(lost, labels, allowed, classes, reason="too much"):
    overall = drop_of(lost)
    reasons = [reason] if overall.high > allowed else []
    drops = {label: drop_of(lost[labels == label]) for label in classes}
    reasons += [f"class {label} loses {drop}" for label, drop in drops.items() if drop.low > allowed]
    return Verdict(allowed, overall, drops, reasons)


def wrong_leaves_the_models_in_eval_mode(model, original, split, allowed="standard_classification"):
    """Fails test_validate_leaves_the_models_as_they_are: model.eval(), and it stays there."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    with torch.no_grad():
        right = [(net.eval()(split.x).argmax(1) == split.y).float() for net in (original, model)]
    return _verdict_with(right[0] - right[1], split.y, allowed, split.y.unique().tolist())


def wrong_in_the_mode_it_finds(model, original, split, allowed="standard_classification"):
    """Fails test_validate_leaves_the_models_as_they_are: in train mode dropout drops."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    with torch.no_grad():
        right = [(net(split.x).argmax(1) == split.y).float() for net in (original, model)]
    return _verdict_with(right[0] - right[1], split.y, allowed, split.y.unique().tolist())


def wrong_classes_up_to_the_largest(model, original, split, allowed="standard_classification"):
    """Fails test_validate_leaves_the_models_as_they_are: range(max + 1), also classes without examples."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = correct(original, split) - correct(model, split)
    return _verdict_with(lost, split.y, allowed, range(int(split.y.max()) + 1))


def wrong_at_the_limit_is_too_much(model, original, split, allowed="standard_classification"):
    """Fails test_validate_leaves_the_models_as_they_are: >= in place of >, so that 0 is more than 0."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = correct(original, split) - correct(model, split)
    drops = {label: drop_of(lost[split.y == label]) for label in split.y.unique().tolist()}
    reasons = ["too much"] if drop_of(lost).high >= allowed else []
    reasons += [f"class {label}" for label, drop in drops.items() if drop.low >= allowed]
    return Verdict(allowed, drop_of(lost), drops, reasons)


def wrong_reasons_are_drops(model, original, split, allowed="standard_classification"):
    """Fails test_validate_leaves_the_models_as_they_are: the reasons are Drops, no strings."""
    allowed = acceptable_drop(allowed) if isinstance(allowed, str) else allowed
    lost = correct(original, split) - correct(model, split)
    verdict = _verdict_with(lost, split.y, allowed, split.y.unique().tolist())
    return Verdict(verdict.allowed, verdict.overall, verdict.classes, [verdict.overall for _ in verdict.reasons])
