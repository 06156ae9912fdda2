//! The bundled model server: image classification with ONNX Runtime.
