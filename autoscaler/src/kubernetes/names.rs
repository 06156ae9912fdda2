//! The labels and annotations that are read or written, and who says what they mean.

/// Karpenter's pool of a node; on nodes and NodeClaims.
pub(super) const POOL: &str = "karpenter.sh/nodepool";
/// `spot`, `on-demand` or `reserved`.
pub(super) const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// `true` once all that a node was bought for is there, its GPUs included.
pub(super) const INITIALIZED: &str = "karpenter.sh/initialized";
pub(super) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// By the zone's *name*, as price lists have it.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
/// Of a pod: which ReplicaSet of its Deployment keeps it.
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";
/// Of a pod that the kubelet reads from a file: it cannot be evicted.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Ours, on a Node or a NodeClaim: the notices that stand for it, a JSON list of `NoticeKind`.
pub const NOTICES: &str = "spotscale.dev/notices";
/// Ours, on a pod that was released from its ReplicaSet: the name of that ReplicaSet.
pub const SURGED: &str = "spotscale.dev/surged";
/// Ours, on a Node that somebody had cordoned before we did: that cordon stays when ours goes.
pub const CORDONED_BEFORE: &str = "spotscale.dev/cordoned-before";
/// Karpenter leaves a node with this alone, unless it is told to delete it.
pub(super) const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Ours, on a Node that we told Karpenter to leave alone: that goes with our cordon.
pub const PROTECTED: &str = "spotscale.dev/protected";
/// Load balancers outside the cluster send nothing to a node with this, whatever its value; ours has the value [`MANAGER`].
pub(super) const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Ours, on a NodePool that was closed: the limits that it had, as JSON.
pub const LIMITS: &str = "spotscale.dev/limits";
/// On what we made, with the value [`MANAGER`].
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Who we are to the API server: in `managedFields` and events.
pub const MANAGER: &str = "spotscale-autoscaler";
