//! `spotscale`: one command, every role.

fn main() {}
