//! What the daemon may do in a cluster: all that it needs and nothing more. The chart's roles are held against this.

/// One rule of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty for the core group.
    pub group: &'static str,
    /// With its subresource, where it is that which is asked for.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// In the daemon's own namespace alone; else in the whole cluster.
    pub own_namespace: bool,
}

const fn cluster(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
) -> Right {
    Right { group, resource, verbs, own_namespace: false }
}

const fn own(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Right {
    Right { group, resource, verbs, own_namespace: true }
}

/// Every right of the daemon.
pub const RIGHTS: [Right; 10] = [
    // Watched; cordoned, and told of notices.
    cluster("", "nodes", &["get", "list", "watch", "patch"]),
    // Watched; released from their ReplicaSets, and deleted where a deadline leaves no time for a budget. Where the API
    // server guards owners, who changes a pod's owner must be allowed to delete the pod.
    cluster("", "pods", &["get", "list", "watch", "patch", "delete"]),
    cluster("", "pods/eviction", &["create"]),
    // Watched.
    cluster("apps", "deployments", &["list", "watch"]),
    // Watched; told of notices until the machine has joined, and deleted to give the machine back.
    cluster("karpenter.sh", "nodeclaims", &["get", "list", "watch", "patch", "delete"]),
    // Weighed, closed and opened.
    cluster("karpenter.sh", "nodepools", &["get", "list", "watch", "patch"]),
    // Server-side apply creates and patches.
    cluster("karpenter.sh", "nodeoverlays", &["list", "watch", "create", "patch", "delete"]),
    // On Nodes they are written to the namespace `default`, on pods beside them.
    cluster("events.k8s.io", "events", &["create", "patch"]),
    own("coordination.k8s.io", "leases", &["get", "create", "update"]),
    own("", "configmaps", &["get", "create", "update"]),
];
