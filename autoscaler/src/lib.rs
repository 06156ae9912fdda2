//! The cost-aware autoscaler daemon: observe, decide, execute.
