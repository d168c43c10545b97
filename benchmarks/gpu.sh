#!/bin/sh
# All that is to be known of the kernels on a GPU, within ten minutes and without network: that they are right, how near the
# orbit ops come to the bandwidth of a copy, how they compare with scatters, and a training step beside e3nn's. Needs
# torch, triton, torch_geometric and e3nn, and a C++ compiler where the package is not built. Writes
# benchmarks/results/gpu-<card>.md.
#
#     sh benchmarks/gpu.sh
#     TRITON_INTERPRET=1 sh benchmarks/gpu.sh --device cpu --rows 300 --output /dev/null   # the script itself, on a CPU
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
export PYTHONPATH=.
"$python" -c "import pyg_symbreak._native" 2>/dev/null || "$python" setup.py -q build_ext --inplace
exec "$python" benchmarks/gpu.py "$@"
