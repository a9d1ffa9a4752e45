"""PyTorch without what only its compiler needs: in processes of their own, for it is imported once."""

import subprocess
import sys
from importlib.metadata import version

import pytest

START = "import gc, sys; from abdoseg.model.lazy_torch import import_torch; import_torch(); import torch\n"


def told(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_only_the_compiler_needs_is_not_imported_but_can_be():
    code = (
        "print('torch._meta_registrations' in sys.modules, 'torch.export' in sys.modules)\n"
        "import torch._meta_registrations as late; print(hasattr(late, 'meta_mm'))\n"
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        "with FakeTensorMode(): print(torch.linalg.svd(torch.empty(3, 4))[0].shape[0])\n"
        "from torch.export import export\n"
        "with torch.no_grad(): print(len(export(torch.nn.ReLU(), (torch.ones(2),)).graph.nodes))"
    )
    registrations, export, *rest = told(START + code)
    assert (registrations, rest) == ("False", ["True", "3", "3"])
    assert export == "False" or tuple(map(int, version("torch").split(".")[:2])) < (2, 13)  # 2.8 asks for it itself


STANDING = (
    "import sys; from abdoseg.model.lazy_torch import _Later\n"
    "late = {name: _Later(name) for name in ('torch._meta_registrations', 'torch.export')}\n"
    "sys.modules.update(late); import torch\n"
)


def test_what_stands_for_a_module_becomes_it_when_asked_for_anything():
    code = (
        "print(hasattr(late['torch.export'], '__file__'), callable(late['torch.export'].export))\n"
        "print(callable(late['torch._meta_registrations'].meta_mm))\n"
        "print(hasattr(sys.modules['torch.export'], '__file__'))"
    )
    assert told(STANDING + code) == ["False", "True", "True", "True"]


def test_a_part_of_what_stands_in_can_be_imported():
    code = "from torch.export.graph_signature import ExportGraphSignature; print(torch.export.__file__ is not None)"
    assert told(STANDING + code) == ["True"]


def test_networks_run_and_garbage_is_collected_again():
    code = "print(torch.nn.Linear(1, 1)(torch.ones(4, 1)).shape[0], gc.isenabled())"
    assert told(START + code) == ["4", "True"]


def test_a_pytorch_that_is_there_is_left_alone():
    code = "print(torch._meta_registrations is before)"
    assert told("import torch; before = torch._meta_registrations\n" + START + code) == ["True"]


def test_networks_on_slices_can_be_made_afterwards():
    pytest.importorskip("segmentation_models_pytorch")
    code = (
        "from abdoseg.model.weights import build_network; from abdoseg.training.recipes import RECIPES\n"
        "print(build_network(RECIPES['manet'].plan().network).multiples)"
    )
    assert told(START + code)
