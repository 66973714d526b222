"""A process that computes starts with torch and little else; what a part needs comes with the part."""

import subprocess
import sys

LATE = {
    "huggingface_hub", "matplotlib", "onnx", "onnxruntime", "pandas", "pydicom", "scipy", "skimage", "sklearn", "sympy",
    "timm", "torchvision",
}  # fmt: skip


def loaded(code: str) -> set[str]:
    """The top-level packages that a new process holds after this code, and torch's compiler by its own name."""
    told = "\nimport sys\nprint(*{n.partition('.')[0] for n in sys.modules}, *{'torch._dynamo'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + told], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_use_cases_and_the_small_network_import_no_library_that_only_parts_need():
    code = """
from radproof import app
from radproof.models.zoo import build, expected_shapes
expected_shapes(build("cxrnet", labels=["a", "b"]).blueprint)
"""
    found = loaded(code)
    assert "torch" in found
    assert not (LATE | {"torch._dynamo"}) & found


def test_a_plan_that_is_no_yaml_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "plan.yaml").write_text("name: [")
    code = f"""
import sys
from radproof.cli import main
sys.argv = ["radproof", "assess", {str(tmp_path / "plan.yaml")!r}]
try:
    main()
except SystemExit as stop:
    assert stop.code == 2
"""
    assert not {"torch", "numpy"} & loaded(code)
