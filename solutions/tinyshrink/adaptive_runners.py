"""Runners for the adaptive search on the course's training loop: magnitude sparsity and filter pruning."""

import copy
import hashlib

import torch
from torch import nn

from . import adaptive_config, channel_plan, magnitude, quantization, structured, training


class TrainingRunner:
    """A Runner on the course's training loop; the model that it is given is not changed.

    `dense` keeps the last value that each weight had while it was part of the network: when the rate goes down, a weight
    comes back with it. Arguments: config, with its algorithm; data, a data.Dataset; lr and `recipe`, as in training.train.
    `model` is the network in training, `compressed()` what to ship.
    """

    def __init__(
        self, config: adaptive_config.AdaptiveConfig, model: nn.Module, data, lr: float = 0.02, seed: int = 0, **recipe
    ):
        self.config, self.dense, self.data = config, copy.deepcopy(model), data
        self.lr, self.seed, self.recipe = lr, seed, recipe
        self.epoch, self.searching, self.lr_factor = 0, False, 1.0
        settings = {key: getattr(value, "__name__", str(value)) for key, value in recipe.items()}
        digest = hashlib.sha256(f"{data.name} {lr} {seed} {settings}".encode())
        for tensor in model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        self.fingerprint = digest.hexdigest()
        self._set(0.0)

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float):
        self.searching = True
        self._set(rate)

    def _set(self, rate):
        self._gather()
        self._rate, self.choice = rate, self._choose(rate)
        self._build()
        self.reset_optimizer(self.lr_factor)

    def train_epoch(self) -> None:
        if not self.searching and self.config.level(self.epoch) != self.rate:
            self._set(self.config.level(self.epoch))
        options = {"progress": False, **self.recipe, "optimizer": self.optimizer, "callbacks": self._callbacks()}
        training.train(self.model, self.data, 1, **options, seed=10_007 * self.seed + self.epoch)
        self.epoch += 1

    def validate(self) -> float:
        return self.accuracy(self.data.validation)

    def accuracy(self, split) -> float:
        """The accuracy on a split of what would be shipped, a fraction; of the original, before anything was done to it."""
        if not self.config.quantize or (self.epoch == 0 and not self.searching):
            return training.evaluate(self.model, split)
        model, device = self.compressed(), next(self.model.parameters()).device
        with torch.no_grad():
            guesses = torch.cat([model(x.to(device)).argmax(1).cpu() for x in split.x.split(1000)])
        return (guesses == split.y.cpu()).float().mean().item()

    def compressed(self) -> nn.Module:
        """A copy of the network as it is to be shipped: really smaller, and quantized where the configuration says so."""
        model = copy.deepcopy(self.model).eval()
        return quantization.quantize_model(model, self.data.train.x[:256]) if self.config.quantize else model

    def reset_optimizer(self, lr_factor: float) -> None:
        self.lr_factor = lr_factor
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": self.recipe.get("weight_decay", 5e-4)}
        self.optimizer = torch.optim.SGD(self.model.parameters(), self.lr * lr_factor, **options)

    def snapshot(self) -> dict:
        self._gather()
        names = "_rate", "epoch", "searching", "lr_factor", "choice"
        state = {name: getattr(self, name) for name in names}
        return copy.deepcopy(state | {"dense": self.dense.state_dict(), "optimizer": self.optimizer.state_dict()})

    def restore(self, snapshot: dict) -> None:
        state = copy.deepcopy(snapshot)
        self.dense.load_state_dict(state.pop("dense"))
        optimizer = state.pop("optimizer")
        vars(self).update(state)
        self._build()
        self.reset_optimizer(self.lr_factor)
        self.optimizer.load_state_dict(optimizer)


class SparsityRunner(TrainingRunner):
    """Magnitude sparsity: the rate is the share of weights that are zero, by one ranking over the network."""

    max_rate = 1.0
    model, choice = None, {}

    def _choose(self, rate):
        options = {"criterion": self.config.algorithm["criterion"], "ignore": self.config.algorithm["ignore"]}
        return dict(magnitude.global_masks(magnitude.weight_scores(self.dense, **options), rate))

    def _build(self):
        self.model = copy.deepcopy(self.dense)
        device = next(self.model.parameters()).device
        self.choice = {name: mask.to(device) for name, mask in self.choice.items()}
        magnitude.apply_masks(self.model, self.choice)

    @torch.no_grad()
    def _gather(self):
        if self.model is not None:
            parked = self.dense.state_dict()
            for name, tensor in self.model.state_dict().items():
                parked[name].copy_(torch.where(self.choice[name], tensor, parked[name]) if name in self.choice else tensor)

    def _callbacks(self):
        return [*self.recipe.get("callbacks", ()), self]

    def after_step(self, run):
        """A callback of the training loop: removed weights stay at zero."""
        magnitude.apply_masks(self.model, self.choice)


class FilterRunner(TrainingRunner):
    """Filter pruning: the rate is the share of filters removed from each group of channels that go together.

    The network in training is the smaller one, which is the faster one too.
    """

    model = None

    def __init__(self, config, model, data, **options):
        criterion, ignore = config.algorithm["criterion"], config.algorithm["ignore"]
        self._plan = lambda dense, amount: structured.plan_channels(
            dense, data.train.x[:2].to(next(dense.parameters()).device), amount, criterion=criterion, ignore=ignore
        )
        self.plan = self._plan(model, 0.0)
        self.smallest_group = min(group.size for group in self.plan.groups)
        self.max_rate = 1 - 1 / self.smallest_group
        super().__init__(config, model, data, **options)

    def _choose(self, rate):
        if all(round(rate * group.size) == 0 for group in self.plan.groups):
            rate = 0.0
        return self._plan(self.dense, rate).kept

    def _build(self):
        self.plan.kept = self.choice
        self.model = structured.remove_channels(self.dense, self.plan)

    @torch.no_grad()
    def _gather(self):
        if self.model is not None:
            parked, indices = self.dense.state_dict(), self.plan.indices()
            for name, tensor in self.model.state_dict().items():
                places = torch.arange(parked[name].numel(), device=tensor.device).view(parked[name].shape)
                places = channel_plan.slice_tensor(places, indices.get(name, {})).flatten()
                parked[name].view(-1)[places] = tensor.flatten()

    def _callbacks(self):
        return self.recipe.get("callbacks", ())


def make_runner(config: adaptive_config.AdaptiveConfig, model: nn.Module, data, **options) -> TrainingRunner:
    """The runner for the algorithm of a configuration; options as in TrainingRunner. ValueError where it names none."""
    if config.algorithm is None:
        known = ", ".join(adaptive_config.ALGORITHMS)
        raise ValueError(f"compression names no algorithm with an adaptive level: add one of {known}")
    kind = {"filter_pruning": FilterRunner, "magnitude_sparsity": SparsityRunner}[config.algorithm["algorithm"]]
    return kind(config, model, data, **options)
