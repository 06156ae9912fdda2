//! What the objects of a cluster mean: from what the API server has to the nouns that decisions are made of. Pure.

mod node;
mod pod;
mod pool;
#[cfg(test)]
pub(super) mod testing;

pub(super) use self::{
    node::{Unreadable, machine, node, notices},
    pod::{Placement, pod, workload},
    pool::{are_heeded, is_closed, overlay, overlay_name, pool},
};
