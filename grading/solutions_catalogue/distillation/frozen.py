from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def wrong_eval_only(model):
    """Fails test_frozen_model_is_in_eval_mode_and_takes_no_gradient: its parameters still take gradients."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def wrong_no_grad_only(model):
    """Fails test_frozen_model_is_in_eval_mode_and_takes_no_gradient: no_grad stops neither dropout nor BatchNorm."""
    with torch.no_grad():
        yield model


@contextmanager
def wrong_no_grad_and_eval(model):
    """Fails test_frozen_on_drawn_models: answers have no gradient, but parameters still ask for one."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def wrong_requires_grad_only(model):
    """Fails test_frozen_model_is_in_eval_mode_and_takes_no_gradient: forgets eval()."""
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.requires_grad_(False)
    finally:
        for parameter, before in gradients:
            parameter.requires_grad = before


@contextmanager
def wrong_never_put_back(model):
    """Fails test_frozen_model_is_put_back_as_it_was: leaves the model frozen."""
    yield model.eval().requires_grad_(False)


@contextmanager
def wrong_all_to_training(model):
    """Fails test_frozen_model_is_put_back_as_it_was: train() at the end wakes what was frozen before."""
    try:
        yield model.eval().requires_grad_(False)
    finally:
        model.train().requires_grad_(True)


@contextmanager
def wrong_mode_of_the_top(model):
    """Fails test_frozen_model_is_put_back_as_it_was: remembers the mode of the whole model, not of each module."""
    mode = model.training
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    finally:
        model.train(mode)
        for parameter, before in gradients:
            parameter.requires_grad = before


@contextmanager
def wrong_children_only(model):
    """Fails test_frozen_model_is_put_back_as_it_was: children() are the first floor, what lies deeper is not put back."""
    modes = [(module, module.training) for module in model.children()]
    mode = model.training
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    finally:
        model.training = mode
        for module, before in modes:
            module.training = before
        for parameter, before in gradients:
            parameter.requires_grad = before


@contextmanager
def wrong_without_finally(model):
    """Fails test_frozen_model_is_put_back_as_it_was: an error inside leaves it frozen."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    yield model.eval().requires_grad_(False)
    for module, mode in modes:
        module.training = mode
    for parameter, before in gradients:
        parameter.requires_grad = before


@contextmanager
def wrong_swallows_the_error(model):
    """Fails test_frozen_model_is_put_back_as_it_was: catches the error in place of finally, and says nothing."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    except Exception:
        gradients = [(parameter, True) for parameter, _ in gradients]
    for module, mode in modes:
        module.training = mode
    for parameter, before in gradients:
        parameter.requires_grad = before


@contextmanager
def wrong_gives_nothing(model):
    """Fails test_frozen_model_is_in_eval_mode_and_takes_no_gradient: yields None in place of the model."""
    with right_exit_stack(model):
        yield


@contextmanager
def wrong_no_gradients_for_anybody(model):
    """Fails test_frozen_model_is_in_eval_mode_and_takes_no_gradient: no_grad stops the student that is trained inside too."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with torch.no_grad():
            yield model.eval().requires_grad_(False)
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, before in gradients:
            parameter.requires_grad = before


@contextmanager
def right_exit_stack(model):
    with ExitStack() as undo:
        for module in model.modules():
            undo.callback(setattr, module, "training", module.training)
        for parameter in model.parameters():
            undo.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(False)
        model.eval()
        yield model


class right_class:
    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.training = {name for name, module in self.model.named_modules() if module.training}
        self.learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        for module in self.model.modules():
            module.training = False
        for parameter in self.model.parameters():
            parameter.requires_grad = False
        return self.model

    def __exit__(self, *error):
        for name, module in self.model.named_modules():
            module.training = name in self.training
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad = name in self.learning
