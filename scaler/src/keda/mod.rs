//! The KEDA external scaler.
