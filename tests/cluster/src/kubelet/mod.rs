//! A stand-in for the kubelet: nodes that keep their leases, and Pods that are real processes on addresses of their own.
