"""Sparse inference on CPUs that is really faster than dense: kernels that skip zeros, and layers that use them.

csr       the format: values, indices, row pointers
ladder    the product of a sparse and a dense matrix, from a Python loop to blocks of registers
kernels   the shipped machine code: vector registers, packed panels
product   csr_matmul, the shipped product
layers    SparseLinear, SparseConv2d
swap      sparsify: a model that takes them where they are faster
"""

from . import csr, kernels, ladder, layers, product, swap
from .csr import CSR
from .layers import SparseConv2d, SparseLinear
from .product import csr_matmul
from .swap import sparsify

__all__ = [
    "CSR",
    "SparseConv2d",
    "SparseLinear",
    "csr",
    "csr_matmul",
    "kernels",
    "ladder",
    "layers",
    "product",
    "sparsify",
    "swap",
]
