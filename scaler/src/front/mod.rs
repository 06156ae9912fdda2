//! The request-holding front.
