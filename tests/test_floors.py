"""The floors of the house: a module imports only from floors strictly below, or from its own room."""

import ast
from pathlib import Path

import abdoseg

ROOT = Path(abdoseg.__file__).parent
FLOORS = [
    {"errors"},
    {"runtime", "anatomy"},
    {"image"},
    {"io", "metrics", "phantom", "rendering"},
    {"model"},
    {"inference"},
    {"quality"},
    {"provenance"},
    {"segmentation", "training", "exporters", "evaluation"},
    {"cohort"},
    {"batch"},
    {"cluster"},
    {"api"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TORCH_FROM = FLOOR["model"]
CLI_ONLY = {"click", "rich"}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names.append(node.module or "")
            if node.module == "abdoseg":
                names += [f"abdoseg.{alias.name}" for alias in node.names]
    return names


def test_every_import_goes_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).with_suffix("").parts[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in FLOOR, f"{path} is on no floor"
        for name in imports(path):
            top = name.split(".")[0]
            if top == "abdoseg":
                other = room_of(name)
                if other and other != room and other in FLOOR and FLOOR[other] >= FLOOR[room]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            elif (top == "torch" and FLOOR[room] < TORCH_FROM) or (top in CLI_ONLY and room != "cli"):
                wrong.append(f"{path.relative_to(ROOT)} imports {top}")
    assert wrong == []


def test_an_import_that_goes_up_is_found(tmp_path):
    module = tmp_path / "image.py"
    module.write_text("from abdoseg.model import plan\nimport torch\n")
    assert imports(module) == ["abdoseg.model", "torch"]
    assert FLOOR[room_of("abdoseg.model")] >= FLOOR["image"]


def test_the_library_leaves_the_filters_of_warnings_alone():
    """Filters of warnings belong to the process: `catch_warnings` in a thread undoes what another has set."""
    touched = ("catch_warnings", "simplefilter", "filterwarnings")
    found = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in touched)
        or (isinstance(node, ast.alias) and node.name in touched)
    ]
    assert set(found) <= {"cli/process.py"}
