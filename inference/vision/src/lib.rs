//! What the model server computes without a model: pictures into tensors, and the stand-in model with seeded weights.
//!
//! Synchronous and free of I/O but for the file that `seeded` writes. A crate of its own because pixel loops need an
//! optimising compiler even in development, and the server around them does not.

pub mod image;
pub mod seeded;
