#!/bin/bash
# Holds the GPU against the CPU: the same pictures through `--device cuda` (or what is named) and `--device cpu` must
# have the same class probabilities; then latency and throughput of both. Needs an NVIDIA GPU with CUDA 13 and cuDNN 9,
# and ORT_DYLIB_PATH pointing to a library of ONNX Runtime that is built for them; `make check-cuda` brings it.
#
#   scripts/check-cuda.sh [--device cuda|tensorrt|cpu] [--model FILE] [--pictures FOLDER] [--spotscale PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 scripts/check_device.py "$@"
