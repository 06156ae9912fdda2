//! KEDA's external scaler (gRPC) and the request-holding front (HTTP).

pub mod front;
pub mod keda;

pub use spotscale_admin as admin;
