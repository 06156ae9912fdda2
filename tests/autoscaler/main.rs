//! The autoscaler on a real control plane: a real API server with Karpenter's definitions, real controllers, real
//! disruption budgets, and a kubelet whose pods are processes.
//!
//! In `cluster`, `drain`, `election`, `karpenter` and `surge` the daemon runs within the test, and who buys and takes
//! machines is the test. In `interruption`, `killed`, `pair` and `scenarios` everything is a process of its own: the
//! daemon, the node watcher, the front, the model servers, and SQS and EC2's metadata as their mocks play them; only
//! Karpenter and EC2's machines are played by [`spotscale_test_cluster::provider`].
//!
//! Where each scenario is tested ([`spotscale_decide`] is tested in its own crate, on a clock of its own):
//!
//! | scenario | test |
//! |---|---|
//! | A load through interruptions, none lost | `interruption::scenario_a` |
//! | B pods that ignore SIGTERM | `interruption::scenario_b` |
//! | C a late, past, doubled, foreign or missed notice | `interruption::scenario_c`, `scenarios::scenario_c` |
//! | D the same notice from queue and node | `scenarios::scenario_2_and_d`, `drain::s02` |
//! | E all spot goes at once | `scenarios::scenario_e`; by time without spot: `planner::tests::stories` of decide |
//! | F, G false alarm, and where its replacement goes | `scenarios::scenario_f`, `scenario_g`, `planner::tests::provisioned` of decide |
//! | H a day without prices | `lives_on` of the crate's own tests, `planner::tests::provisioned` of decide |
//! | I the ledger, to a cent | `money`, `lives_on` of the crate's own tests, `ledger::tests` of decide |
//! | K from zero | the root test `install`: `cold_start` and `running` |
//! | L the return to spot | `planner::tests::stories` and `provisioned` of decide |
//! | 1 metadata | `scenarios::scenario_1`, `drain::s01` |
//! | 2 queue | `scenarios::scenario_2_and_d` |
//! | 3, 4 rebalance | `drain::s04`, `scenarios::scenario_g` |
//! | 5 a node nobody knows | `scenarios::scenario_c_and_5` |
//! | 6 maintenance called off | `drain::s06` |
//! | 7 dry run | `lives_on` of the crate's own tests |
//! | 8 a machine that stops | `scenarios::scenario_17`, `drain::s19` |
//! | 10, 14 trouble with the queue | `queue_trouble` and `moto` of the AWS crate, `intake::tests` of the crate |
//! | 12 ten messages in one receive | `scenarios::scenario_12` |
//! | 15 the same warning twice, and the offering's mark | `scenarios::scenario_2_and_d`, `planner::tests::provisioned` of decide |
//! | 16, 17 the machine goes | `scenarios::scenario_16`, `scenario_17` |
//! | 18, 19, 20 budgets, deadlines, machines that are gone | `drain`, `cluster` |
//!
//! Needs the programs that `scripts/setup.py cluster` builds, the definitions that `scripts/setup.py crds` brings, the
//! Python of `scripts/setup.py python`, ONNX Runtime, and root for the pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod drain;
mod election;
mod ground;
mod interruption;
mod karpenter;
mod killed;
mod money;
mod objects;
mod pair;
mod scenarios;
mod surge;
mod world;
