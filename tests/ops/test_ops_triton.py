import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyg_symbreak.ops import REDUCTIONS, Orbits, orbit_reduce
from pyg_symbreak.ops.project import layout

triton = pytest.importorskip("triton", reason="triton is not installed")

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16"}


@pytest.mark.parametrize("name", ["triton_interpreted.py", "triton_tensor_products.py"])
def test_kernels_under_the_interpreter(name):
    script = Path(__file__).with_name(name)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(script)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_kernels_need_a_cuda_device():
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("under the interpreter they run on the CPU")
    with pytest.raises(ValueError, match="CUDA device"):
        orbit_reduce(torch.zeros(2, 1), Orbits.from_index(torch.zeros(2, dtype=torch.long)), method="triton")


def compile_for_hopper(kernel, pointers, numbers, settings, tmp_path, divisible=True):
    """Compile for sm_90 without a GPU; return registers and bytes of stack a thread, and the PTX."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {"num_warps": settings.pop("num_warps")}
    signature = {**pointers, **dict.fromkeys(numbers, "i32"), **dict.fromkeys(settings, "constexpr")}
    aligned = [i for i, kind in enumerate(signature.values()) if kind != "constexpr" and (divisible or kind != "i32")]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs=settings,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = subprocess.run(
        [cuobjdump, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
    ).stdout
    fields = dict(f.split(":") for f in usage.split() if f.count(":") == 1 and f.split(":")[1].isdigit())
    return int(fields["REG"]), int(fields["STACK"]) + int(fields["LOCAL"]), compiled.asm["ptx"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_reduction_compiles_for_hopper_without_spills(reduce, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from pyg_symbreak.ops._triton import reduce_kernel, reduce_settings

    index, values = "*i64", TYPES[dtype]
    pointers = dict.fromkeys(("starts", "stops"), index)
    pointers = {"x": values, "order": index, **pointers, "weight": values, "out": values}
    for broadcast, weighted in ((True, False), (False, reduce in ("sum", "logsumexp"))):
        settings = {"REDUCE": reduce, "WEIGHTED": weighted, "BROADCAST": broadcast, **reduce_settings(dtype, 24, 64)}
        registers, spilled, ptx = compile_for_hopper(
            reduce_kernel, pointers, ["channels", "longest"], settings, tmp_path
        )
        print(f"{reduce} {dtype} broadcast={broadcast} weighted={weighted}: {registers} registers")
        assert spilled == 0
        assert "atom." not in ptx
        assert "red.global" not in ptx
        assert ".v4.b32" in ptx or ".v2.b64" in ptx  # 16 bytes a load


PROJECTIONS = [
    (f"{mul}x{l}e", "both", dtype) for mul, l in ((32, 0), (32, 1), (16, 2), (16, 3), (8, 4)) for dtype in TYPES
]
PROJECTIONS += [("32x1o", "sum", torch.float32), ("32x1o", "spread", torch.bfloat16)]
PROJECTIONS += [("64x0e+32x1o+16x2e", "both", torch.float32)]


@pytest.mark.parametrize(("irreps", "phase", "dtype"), PROJECTIONS)
def test_projection_compiles_for_hopper_without_spills(irreps, phase, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from pyg_symbreak.ops._triton import project_kernel, project_settings

    index, values = "*i64", TYPES[dtype]
    table = "*fp64" if dtype == torch.float64 else "*fp32"
    pointers = {"x": values, **dict.fromkeys(("order", "starts", "stops", "rows", "coset"), index)}
    out = table if phase == "sum" else values
    pointers |= {"table": table, "blocks": index, "fixed_rows": table, "out": out}
    muls, dims, _ = layout(irreps)
    settings = {"PHASE": phase, **project_settings(dtype, 24, muls, dims)}
    assert settings["VECTOR"] * dtype.itemsize == 16
    numbers = ["width", "cosets_apart", "longest"]
    registers, spilled, ptx = compile_for_hopper(project_kernel, pointers, numbers, settings, tmp_path, False)
    print(f"{irreps} {phase} {dtype}: {registers} registers")
    assert spilled == 0
    assert "atom." not in ptx
    assert "red.global" not in ptx
    wide = r"global(\.\w+)*\.(v4\.b32|v2\.b64)"
    assert phase == "spread" or re.search(r"ld\." + wide, ptx)  # 16 bytes a load
    assert phase == "sum" or re.search(r"st\." + wide, ptx)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 3, 5, 9])
@pytest.mark.parametrize("kind", ["node", "edge", "weight"])
def test_tensor_product_compiles_for_hopper_without_spills(kind, dim, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from pyg_symbreak.ops import _triton_tensor_product as kernels

    kernel = getattr(kernels, f"{kind}_kernel")
    settings = {"D": dim, **kernels.settings(dtype, 16)}
    if kind == "edge":
        settings |= {"COUPLING": True, "D_OUT": triton.next_power_of_2(dim)}
    index = ("order", "starts", "other", "tiles", "paths", "source", "target")
    names = [name for name in kernel.arg_names if name not in settings]
    numbers = [name for name in names if name in ("first", "last") or name.startswith("num_")]
    pointers = {n: "*i64" if n in index else TYPES[dtype] for n in names if n not in numbers}
    registers, spilled, ptx = compile_for_hopper(kernel, pointers, numbers, settings, tmp_path, False)
    print(f"{kind} {dim} {dtype}: {registers} registers, {spilled} bytes of stack")
    assert spilled == 0
    assert "atom." not in ptx
    assert "red.global" not in ptx
