# SPDX-License-Identifier: MIT
"""NumPy arrays and torch tensors at the door: dtype, shape, strides and device are proved here, and C gets a pointer.

Nothing is copied: an operand may have any strides between heads and between tokens; only the numbers of one row must
lie side by side, as the C library wants them. torch is never imported; a tensor is known by what it can do.
"""

import numpy as np

from . import _abi

DTYPES = {"float32": _abi.DTYPE_F32, "float16": _abi.DTYPE_F16, "bfloat16": _abi.DTYPE_BF16}
SIZE = {"float32": 4, "float16": 2, "bfloat16": 2}


class Operand:
    """`[n_head, n_tok, d]` numbers that C may read: `shape`, `dtype` (its name) and `rows` (the struct). Keeps the
    array alive."""

    def __init__(self, x, name):
        if hasattr(x, "data_ptr") and hasattr(x, "device"):
            self.of_tensor(x, name)
        elif isinstance(x, np.ndarray):
            self.of_array(x, name)
        else:
            raise TypeError(f"{name} is a {type(x).__name__}; a NumPy array or a torch tensor is wanted")
        self.owner = x
        self.check(name)

    def of_array(self, x, name):
        if not x.dtype.isnative:
            raise TypeError(f"{name} is {x.dtype}, in the other byte order; x.astype(x.dtype.newbyteorder('=')) helps")
        self.shape, self.dtype, self.strides, self.at = x.shape, x.dtype.name, x.strides, x.ctypes.data

    def of_tensor(self, x, name):
        if x.device.type != "cpu":
            raise ValueError(
                f"{name} lies on the device {x.device}; sparsetrace's kernels run on the CPU. x.cpu() or "
                "model.to('cpu') brings it there"
            )
        if x.layout.__str__() != "torch.strided":
            raise TypeError(f"{name} has the layout {x.layout}; a dense tensor is wanted")
        if x.is_neg() or x.is_conj():
            raise TypeError(f"{name} is a lazy view (negated or conjugated); x.resolve_neg() makes numbers of it")
        size = x.element_size()
        self.shape, self.dtype = tuple(x.shape), str(x.dtype).removeprefix("torch.")
        self.strides, self.at = tuple(s * size for s in x.stride()), x.data_ptr()

    def check(self, name):
        if self.dtype not in DTYPES:
            raise TypeError(f"{name} is {self.dtype}; float32, float16 or bfloat16 is wanted")
        if len(self.shape) != 3:
            raise ValueError(f"{name} has the shape {self.shape}; [n_head, n_tok, d] is wanted")
        if min(self.shape) < 1:
            raise ValueError(f"{name} has the shape {self.shape}; no length may be 0")
        size = SIZE[self.dtype]
        if self.shape[2] > 1 and self.strides[2] != size:
            raise ValueError(
                f"{name} has the strides {self.strides} bytes; the {self.shape[2]} numbers of a row must lie side by "
                "side (numpy.ascontiguousarray or .contiguous() helps)"
            )
        if any(s % size for s in self.strides[:2]) or self.at % size:
            raise ValueError(f"{name} is not aligned to its {size}-byte numbers (a copy is)")

    @property
    def rows(self):
        # a stride of an axis of length 1 means nothing, and may be anything
        head, tok = (s if n > 1 else 0 for s, n in zip(self.strides[:2], self.shape[:2]))
        return _abi.Rows(self.at, DTYPES[self.dtype], None, head, tok)


def vector(x, dtype, shape, name):
    """A contiguous array of that dtype and shape (-1: any length), copied only if it has to be; numbers that the dtype
    cannot hold are refused."""
    try:
        array = np.asarray(x)
        if array.dtype == object or (np.dtype(dtype).kind == "i" and array.size and array.dtype.kind not in "iu"):
            raise TypeError(f"{name} is {array.dtype}, {np.dtype(dtype)} is wanted")
        out = np.ascontiguousarray(array, dtype)
    except (OverflowError, ValueError) as e:
        raise ValueError(f"{name}: {e}") from None
    if out.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, out.shape)):
        raise ValueError(f"{name} has the shape {out.shape}, {tuple(shape)} is wanted")
    if np.dtype(dtype).kind == "i" and not np.array_equal(out, array):
        raise ValueError(f"{name} holds numbers beyond {np.dtype(dtype)}")
    return out


def whole(x, name, low, high):
    """x as an int within low..high."""
    try:
        number = x.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} is {x!r}; a whole number is wanted") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}; {low}..{high} is wanted")
    return number


def view(address, n, dtype, owner):
    """Read-only array over n numbers at an address that lives as long as `owner`."""
    dtype = np.dtype(dtype)
    if n == 0 or not address:
        return np.zeros(0, dtype)
    memory = (_abi.c.c_char * (n * dtype.itemsize)).from_address(address)
    memory.owner = owner
    return np.frombuffer(memoryview(memory).toreadonly(), dtype)
