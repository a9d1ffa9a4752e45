"""The command line tunes its process, the library leaves it alone; each in a process of its own."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import phantom_balls
import pytest

from abdoseg.io import write_nifti

START = "import gc, sys; from abdoseg.cli.process import import_torch; import_torch(); import torch\n"


STATE = "print(os.environ.get('GOMP_SPINCOUNT'), sys.getswitchinterval(), igzip.READ_BUFFER_SIZE)\n"


def printed(code, **environment):
    untuned = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env=untuned | environment)  # fmt: skip
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
    registrations, export, *rest = printed(START + code)
    assert (registrations, rest) == ("False", ["True", "3", "3"])
    assert export == "False" or tuple(map(int, version("torch").split(".")[:2])) < (2, 13)  # 2.8 asks for it itself


STANDING = (
    "import sys; from abdoseg.cli.process import _Deferred\n"
    "late = {name: _Deferred(name) for name in ('torch._meta_registrations', 'torch.export')}\n"
    "sys.modules.update(late); import torch\n"
)


def test_what_stands_for_a_module_becomes_it_when_asked_for_anything():
    code = (
        "print(hasattr(late['torch.export'], '__file__'), callable(late['torch.export'].export))\n"
        "print(callable(late['torch._meta_registrations'].meta_mm))\n"
        "print(hasattr(sys.modules['torch.export'], '__file__'))"
    )
    assert printed(STANDING + code) == ["False", "True", "True", "True"]


def test_a_part_of_what_stands_in_can_be_imported():
    code = "from torch.export.graph_signature import ExportGraphSignature; print(torch.export.__file__ is not None)"
    assert printed(STANDING + code) == ["True"]


def test_networks_run_and_garbage_is_collected_again():
    code = "print(torch.nn.Linear(1, 1)(torch.ones(4, 1)).shape[0], gc.isenabled())"
    assert printed(START + code) == ["4", "True"]


def test_a_pytorch_that_is_there_is_left_alone():
    code = "print(torch._meta_registrations is before)"
    assert printed("import torch; before = torch._meta_registrations\n" + START + code) == ["True"]


def test_networks_on_slices_can_be_made_afterwards():
    pytest.importorskip("segmentation_models_pytorch")
    code = (
        "from abdoseg.model.weights import build_network; from abdoseg.training.recipes import RECIPES\n"
        "print(build_network(RECIPES['manet'].plan().network).multiples)"
    )
    assert printed(START + code)


def test_the_library_leaves_the_process_as_it_is(tmp_path):
    volume, _ = phantom_balls.scan()
    write_nifti(volume.voxels, volume.stored, tmp_path / "scan.nii.gz")
    code = (
        "import os, sys; from isal import igzip\n" + STATE + "import abdoseg, phantom_balls\n"
        f"result = abdoseg.segment({str(tmp_path / 'scan.nii.gz')!r}, model=phantom_balls.model())\n" + STATE +
        "print(result.labelmap.mask('liver').any(), 'abdoseg.cli' in sys.modules)"
    )  # fmt: skip
    before = printed("import os, sys; from isal import igzip\n" + STATE)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    assert printed(code, PYTHONPATH=paths) == [*before, *before, "True", "False"]


def test_the_command_line_tunes_its_process_but_for_what_the_user_has_set():
    tuned = "import os, sys; from isal import igzip; from abdoseg.cli.process import tune_process; tune_process()\n"
    assert printed(tuned + STATE) == ["1000", "0.0005", str(2**22)]
    assert printed(tuned + STATE, GOMP_SPINCOUNT="7")[0] == "7"
    assert printed(tuned + STATE, OMP_WAIT_POLICY="active")[0] == "None"


def test_a_process_that_leaves_has_said_everything():
    code = (
        "import logging, sys; from abdoseg.cli.process import leave\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout); logging.info('done'); sys.stdout.flush(); leave(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "INFO:root:done\n")


def test_warnings_of_letters_out_of_place_in_dicom_headers_are_not_shown():
    code = (
        "import contextlib, io; from abdoseg.cli.process import ignore_dicom_warnings\n"
        "import warnings, pydicom; from highdicom.valuerep import check_person_name\n"
        "def warned():\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as shown:\n"
        "        dataset = pydicom.Dataset(); dataset.StudyID = 30 * 'S'\n"
        "        check_person_name('Doe'); warnings.warn('ours', stacklevel=1)\n"
        "    return [word in shown.getvalue() for word in ('exceeds', 'Doe', 'ours')]\n"
        "warnings.simplefilter('always'); print(*warned()); ignore_dicom_warnings(); print(*warned())"
    )
    assert printed(code) == ["True"] * 3 + ["False", "False", "True"]
