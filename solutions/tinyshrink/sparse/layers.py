"""Sparse layers: a Linear and a Conv2d whose zeros are neither stored nor multiplied, for networks that were pruned.

Both compute with the batch innermost in memory, (features, batch) and (channels, height, width, batch): then one weight
multiplies a run of numbers, whatever the place of its zeros. They take and give tensors of PyTorch's usual shapes; what
they give is a view with other strides, which the next sparse layer reads as it is. A convolution needs no im2col: a weight
(o, c, y, x) multiplies the padded input moved by a constant offset (Park et al. 2017, https://arxiv.org/abs/1608.01409).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import csr, kernels, product

PLANS = 16  # what a layer keeps at once, each a copy of its weight: inputs of ever new shapes must not fill the memory
ROOM = 2**19  # bytes of a convolution's copy of its input, for each thread: half of a usual L2


class SparseLayer(nn.Module):
    """What the sparse layers share: the weight as CSR, of which only `values` could learn.

    values float32 (nnz,); indices int32 (nnz,), the place of each in weight[output].flatten(); indptr int32 (outputs + 1,);
    bias (outputs,) or None; size, the shape of the dense weight. They do not learn until values.requires_grad_() is called,
    and then only the kept positions do. A call for which gradients are asked computes densely, with exact gradients: the
    kernels are for inference. Only for float32 on the CPU: another dtype or device is a TypeError.
    """

    @torch.inference_mode(False)  # tensors made in it have no version that shows a change
    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None:
                product.check(tensor, f"the {name}")
        matrix = csr.CSR.from_dense(weight.detach().flatten(1))
        self.size = tuple(weight.shape)
        self.values = nn.Parameter(torch.from_numpy(matrix.values), requires_grad=False)
        self.register_buffer("indices", torch.from_numpy(matrix.indices))
        self.register_buffer("indptr", torch.from_numpy(matrix.indptr))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def matrix(self) -> csr.CSR:
        """The weight as a CSR matrix (outputs, inputs of one output), checked: its indices may come from a file."""
        arrays = (getattr(self, name).detach().numpy() for name in ("values", "indices", "indptr"))
        return csr.CSR((self.size[0], math.prod(self.size[1:])), *arrays)

    def to_dense(self) -> Tensor:
        """The weight as a dense tensor of shape `size`; gradients reach the values."""
        rows = torch.repeat_interleave(torch.arange(self.size[0]), self.indptr.diff())
        flat = torch.zeros(self.size[0], math.prod(self.size[1:]))
        return flat.index_put((rows, self.indices.long()), self.values).view(self.size)

    def needs_gradient(self, x: Tensor) -> bool:
        tensors = (x, *self._parameters.values())
        return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)

    def kept(self, key, make):
        """make(), remembered under `key` until the values or the structure change (other than in place by way of .data)."""
        tensors = [*self._parameters.values(), *self._buffers.values()]
        try:
            versions = [tensor is not None and (tensor._version, tensor.data_ptr()) for tensor in tensors]
        except RuntimeError:  # copied in inference mode: there is no telling whether they changed
            return make()
        memory = self.__dict__.setdefault("_memory", {})
        old, old_versions = memory.get("state", ([], []))
        if versions != old_versions or any(a is not b for a, b in zip(tensors, old, strict=True)):
            memory.clear()
            memory["state"] = (tensors, versions)
        found = memory.get(key)
        if found is None:
            if len(memory) > PLANS:
                memory.clear()
                memory["state"] = (tensors, versions)
            found = memory[key] = make()
        return found  # not memory[key]: another thread may have cleared it

    def __getstate__(self):
        """What copy and pickle take: without what is kept, since the versions of copies count anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_memory"}

    def _apply(self, function, recurse=True):
        product.check(function(torch.zeros(1)), "a sparse layer")
        return super()._apply(function, recurse)

    def extra_repr(self) -> str:
        numbers = math.prod(self.size)
        zeros = 1 - len(self.values) / numbers if numbers else 0
        return f"size={self.size}, sparsity={zeros:.3f}, bias={self.bias is not None}"


class SparseLinear(SparseLayer):
    """A Linear that skips its zeros: (..., inputs) to (..., outputs), float32 on the CPU."""

    @classmethod
    def from_dense(cls, layer: nn.Linear) -> "SparseLinear":
        """The sparse layer that computes what `layer` does; a new one, `layer` is left alone."""
        return cls(layer.weight, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        product.check(x, "the input")
        if x.ndim == 0 or x.shape[-1] != self.size[1]:
            raise ValueError(f"expected an input of shape (..., {self.size[1]}), got {tuple(x.shape)}")
        if self.needs_gradient(x):
            return F.linear(x, self.to_dense(), self.bias)
        X = x.reshape(math.prod(x.shape[:-1]), self.size[1]).T  # (inputs, N): no copy, the kernel packs what it needs
        narrow = X.shape[1] <= 16
        slices = self.kept(("slices", narrow), lambda: product.Slices(self.matrix(), depth=512 if narrow else None))
        Y = product.multiply(slices, self.size[0], X, self.bias)  # (outputs, N)
        return Y.T.reshape(*x.shape[:-1], self.size[0])


class SparseConv2d(SparseLayer):
    """A Conv2d that skips its zeros: (N, channels, H, W) to (N, outputs, H', W'), float32 on the CPU.

    Any stride, zero padding (numbers, "same", "valid"), dilation and groups. What it returns has the batch innermost in
    memory, which the next one reads fastest. Best for batches of 16 images and more.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups: int = 1):
        super().__init__(weight, bias)
        self.stride, self.padding, self.dilation, self.groups = tuple(stride), padding, tuple(dilation), groups

    @classmethod
    def from_dense(cls, layer: nn.Conv2d) -> "SparseConv2d":
        """The sparse layer that computes what `layer` does; ValueError for a padding_mode other than "zeros"."""
        if layer.padding_mode != "zeros":
            raise ValueError(f'a sparse convolution pads with zeros, got padding_mode="{layer.padding_mode}"')
        return cls(layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    def forward(self, x: Tensor) -> Tensor:
        product.check(x, "the input")
        channels = self.size[1] * self.groups
        if x.ndim not in (3, 4) or x.shape[-3] != channels:
            raise ValueError(f"expected an input of shape (N, {channels}, H, W), got {tuple(x.shape)}")
        if x.ndim == 3:
            return self.forward(x[None])[0]
        if 0 in x.shape or self.needs_gradient(x):
            return F.conv2d(x, self.to_dense(), self.bias, self.stride, self.padding, self.dilation, self.groups)
        threads = torch.get_num_threads()
        plan = self.kept((x.shape, threads), lambda: _Plan(self, x.shape, threads))
        slices = plan.slices
        Y = torch.empty(slices.block_rows * slices.rows, plan.rows, plan.pitch)
        rooms = kernels.scratch(threads * plan.room).reshape(threads, plan.room)
        inputs = x.detach().permute(1, 2, 3, 0).numpy()
        arrays = (slices.values, plan.offsets, slices.starts, slices.rows, inputs, rooms, plan.bias, Y.numpy())
        kernels.call(kernels.convolve, *arrays, plan.geometry)
        shape = (len(x), self.size[0], plan.rows, plan.columns)
        return Y.as_strided(shape, (1, plan.rows * plan.pitch, plan.pitch, plan.step))  # Y is (outputs, rows, columns, N)

    def extra_repr(self) -> str:
        more = f", stride={self.stride}, padding={self.padding}, dilation={self.dilation}, groups={self.groups}"
        return super().extra_repr() + more


class _Plan:
    """How a SparseConv2d walks over inputs of one shape: the numbers of kernels.convolve, and the weight as it reads it."""

    def __init__(self, layer, shape, threads):
        batch, _, height, width = shape
        top, bottom, left, right = _pads(layer)
        numbers = (*layer.stride, *layer.dilation, layer.groups, top + 1, bottom + 1, left + 1, right + 1, *layer.size[1:])
        if min(numbers) < 1 or layer.size[0] % layer.groups:  # they may come from a file, and the kernels trust them
            raise ValueError(f"no convolution has {layer.extra_repr()}")
        kernel, (down, along) = layer.size[2:], layer.stride
        reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, kernel, strict=True)]
        padded = (height + top + bottom, width + left + right)
        if padded[0] < reach[0] or padded[1] < reach[1]:
            raise ValueError(f"a kernel that covers {tuple(reach)} does not fit the padded input, {padded}")
        self.rows, self.columns = (padded[0] - reach[0]) // down + 1, (padded[1] - reach[1]) // along + 1
        one_run = along == 1 and batch <= kernels.PANEL
        chunk = batch if one_run else min(-(-batch // 16) * 16, kernels.PANEL)
        self.step = chunk if batch <= kernels.PANEL else batch  # from one output column to the next
        runs, length = (1, -(-self.columns * batch // 16) * 16) if one_run else (self.columns, chunk)
        self.pitch = length if one_run else self.columns * self.step
        self.slices, slice_channels, place = self._slices(layer)
        row_pitch = padded[1] * chunk
        most = ROOM // (4 * slice_channels * row_pitch)  # input rows
        block = max(1, min((most - reach[0]) // down + 1, -(-self.rows // threads)))
        channel_pitch = ((block - 1) * down + reach[0]) * row_pitch
        channel_pitch += (12 - channel_pitch // 16 % 64) % 64 * 16  # channels must not all fall into the same sets of L1
        self.room = slice_channels * channel_pitch + kernels.PANEL  # runs may read over the end
        if self.room > csr.MOST:
            raise ValueError(f"a kernel that covers {tuple(reach)} of inputs {tuple(shape)} needs too much room: {self.room:,}")
        channel, y, x = place
        self.offsets = (channel % slice_channels * channel_pitch + y * layer.dilation[0] * row_pitch).astype(np.int32)
        self.offsets += (x * layer.dilation[1] * chunk).astype(np.int32)
        numbers = (top, left, reach[0], down, along, chunk, block, slice_channels, row_pitch, channel_pitch)
        self.geometry = (*numbers, runs, length, self.step)
        self.bias = np.zeros(self.slices.block_rows * self.slices.rows, np.float32)
        if layer.bias is not None:
            self.bias[: layer.size[0]] = layer.bias.detach().numpy()

    def _slices(self, layer):
        """(Slices of the weight over all groups, the channels of a slice, the (channel, row, column) of each block)."""
        matrix, kernel = layer.matrix(), layer.size[2:]
        taps = math.prod(kernel)
        group = np.repeat(np.arange(layer.size[0]), np.diff(matrix.indptr)) // (layer.size[0] // layer.groups)
        indices = (matrix.indices + group * math.prod(layer.size[1:])).astype(np.int32)
        shape = (layer.size[0], math.prod(layer.size[1:]) * layer.groups)
        whole = csr.CSR(shape, matrix.values, indices, matrix.indptr)
        channels = max(1, product.Slices(whole).depth // taps)
        slices = product.Slices(whole, depth=channels * taps)
        column = slices.columns()
        return slices, channels, (column // taps, column // kernel[1] % kernel[0], column % kernel[1])


def _pads(layer):
    """(top, bottom, left, right) in pixels."""
    if isinstance(layer.padding, str):
        total = [d * (k - 1) if layer.padding == "same" else 0 for d, k in zip(layer.dilation, layer.size[2:], strict=True)]
        return (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
    return (layer.padding[0], layer.padding[0], layer.padding[1], layer.padding[1])


class AcrossPool(nn.Module):
    """A 2D pooling layer that keeps the batch innermost: (N, channels, H, W) to (N, channels, H', W').

    Pooling treats images and channels alike. With the two exchanged, what a sparse convolution returns is a channels_last
    tensor, for which PyTorch has a fast kernel; as it is, it would be copied and pooled slowly.
    """

    def __init__(self, pool: nn.Module):
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.stride(0) == 1:
            return self.pool(x.transpose(0, 1)).transpose(0, 1)
        return self.pool(x)
