//! KEDA's external scaler (gRPC) and the request-holding front (HTTP).

pub mod admin;
pub mod front;
pub mod keda;
pub mod span;
