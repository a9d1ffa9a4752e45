"""A device that is not there: tensors that claim to lie on it, and an overseer who minds what a real one would."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("lazy")  # a type that nothing here uses, and whose tensors need no driver
aten = torch.ops.aten
WAITED_FOR = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.bincount, aten.equal, aten.unique_dim}


class Far(torch.Tensor):
    """A tensor that says it lies elsewhere. held: what it holds, on the CPU."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=ELSEWHERE
        )

    def __init__(self, held):
        self.held = held

    def tolist(self):
        return self.cpu().tolist()  # as a device's own do

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} where no overseer looks")


class Overseer(TorchDispatchMode):
    """Lets operations go on elsewhere, refuses what a real device refuses, and writes down each wait for it.

    As a real one, it takes a number (a tensor without dimensions) from the host with any operation.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        far = [tensor for tensor in tensors if isinstance(tensor, Far)]
        near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.dim()]
        kind = func.overloadpacket
        to = kwargs.get("device") or (ELSEWHERE if far else torch.device("cpu"))
        if kind in (aten._to_copy, aten.copy_):
            back = bool(far) and to != ELSEWHERE
            there = bool(near) and to == ELSEWHERE and not kwargs.get("non_blocking")
            waits = back or there
        else:
            if far and near:
                raise RuntimeError(f"{func}: some tensors are on the host, some elsewhere")
            waits = far and (kind in WAITED_FOR or (kind is aten.index and _masked(args[1])))
        if waits:
            self.waits.append(str(func))
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        args, kwargs = tree_map(lambda value: value.held if isinstance(value, Far) else value, (args, kwargs))
        return tree_map(lambda value: _placed(value, to), func(*args, **kwargs))


def _masked(indices):
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _placed(value, device):
    return Far(value) if isinstance(value, torch.Tensor) and device == ELSEWHERE else value
