# syntax=docker/dockerfile:1.7
# Two images of one program:
#
#   docker build --tag REGISTRY/spotscale:0.1.0 .                          every role; models on the CPU
#   docker build --tag REGISTRY/spotscale:0.1.0-cuda --target cuda .       the model server on NVIDIA GPUs (amd64 only)
#
# Both carry ONNX Runtime and ResNet-50 of the ONNX Model Zoo with the names of its classes; a build that cannot reach
# the zoo fails, because the stand-in with seeded weights does not belong into an image, nor do answers without names. Both run
# as user 65532 and write nothing but to /tmp.

FROM rust:1.95.0-bookworm AS program
# The image's own; rust-toolchain.toml would have rustup bring clippy and rustfmt too.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package spotscale \
    && install -D target/release/spotscale /out/spotscale

FROM python:3.13.9-slim-bookworm AS parts
ENV SPOTSCALE_CACHE=/parts
COPY scripts /source/scripts
RUN --mount=type=cache,target=/parts/wheels \
    python3 /source/scripts/setup.py runtime model \
    && install -D --mode=0644 --target-directory=/out/models \
        /parts/models/resnet50-v1-12.onnx /parts/models/resnet50-v1-12.labels.txt \
    && install -D --mode=0644 --target-directory=/out/onnxruntime /parts/onnxruntime-*/*.so

FROM parts AS parts-cuda
RUN --mount=type=cache,target=/parts/wheels \
    python3 /source/scripts/setup.py runtime-cuda \
    && install -D --mode=0644 --target-directory=/out/onnxruntime /parts/onnxruntime-cuda-*/*.so

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS cuda
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so \
    SPOTSCALE_INFERENCE_MODELS=resnet50=/models/resnet50-v1-12.onnx
COPY --from=parts-cuda /out/onnxruntime /opt/onnxruntime
COPY --from=parts-cuda /out/models /models
COPY --from=program /out/spotscale /usr/local/bin/spotscale
USER 65532:65532
ENTRYPOINT ["spotscale"]

FROM debian:12.12-slim AS plain
# The authorities that an https Prometheus is checked against.
COPY --from=parts /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so \
    SPOTSCALE_INFERENCE_MODELS=resnet50=/models/resnet50-v1-12.onnx
COPY --from=parts /out/onnxruntime /opt/onnxruntime
COPY --from=parts /out/models /models
COPY --from=program /out/spotscale /usr/local/bin/spotscale
USER 65532:65532
ENTRYPOINT ["spotscale"]
