//! The cloud that a node is rented from, as far as Spotscale speaks to it: EC2 and SQS by moto, prices by a stand-in
//! in front of it, the metadata service by Amazon's own mock. Each is reached through the endpoint that it names; none
//! checks credentials.

pub mod events;
mod http;
pub mod market;
pub mod metadata;
pub mod moto;
mod prices;

pub use self::{
    market::{Failure, Market},
    metadata::{Instance, Interruption, MetadataMock, Notices},
    moto::Moto,
};

/// The region of everything here.
pub const REGION: &str = "us-east-1";
/// The account of everything here, as moto has it.
pub const ACCOUNT: &str = "123456789012";
