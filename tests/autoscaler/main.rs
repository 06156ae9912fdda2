//! The autoscaler on a real control plane: a real API server with Karpenter's definitions, real controllers, real
//! disruption budgets, and a kubelet whose pods are processes.
//!
//! In `cluster`, `drain`, `election`, `karpenter` and `surge` the daemon runs within the test, and who buys and takes
//! machines is the test. In `interruption`, `killed`, `pair` and `scenarios` everything is a process of its own: the
//! daemon, the node watcher, the front, the model servers, and SQS and EC2's metadata as their mocks play them; only
//! Karpenter and EC2's machines are played by [`spotscale_test_cluster::provider`]. In `real_karpenter` Karpenter is the
//! real one, and KWOK plays the machines. In `scale` there is nothing but an API server full of objects.
//!
//! Where each scenario is tested ([`spotscale_decide`] is tested in its own crate, on a clock of its own). 11 and 13 do
//! not exist:
//!
//! | scenario | test |
//! |---|---|
//! | A load through interruptions, none lost | `interruption::scenario_a` |
//! | B pods that ignore SIGTERM | `interruption::scenario_b` |
//! | C a late, past, doubled, foreign or missed notice | `interruption::scenario_c`, `scenarios::told::scenario_c` |
//! | D the same notice from queue and node | `scenarios::told::scenario_2_and_d`, `drain::s02` |
//! | E all spot goes at once | `interruption::scenario_e` under load, `scenarios::machines::scenario_e`; by time without spot: `planner::tests::stories` of decide; over a day, with requests: the tests of `spotscale-simulate` |
//! | F, G false alarm and what it cost, and where its replacement goes | `scenarios::advice::scenario_f` and `scenario_g`, `real_karpenter::a_machine_that_one_is_advised`; what is a false alarm: `ledger::tests::advice` of decide |
//! | H a day without prices | `scenarios::prices::scenario_h`; a whole day: `lives_on` of the crate's own tests |
//! | I the ledger, to a cent | `money`; a clock that is set: `money::clock`, `lives_on` of the crate's own tests, `ledger::tests::detour` of decide |
//! | J the savings | the tests of `spotscale-simulate`: no daemon in it |
//! | K from zero | the root test `install`: `cold_start` and `running`; how long to idle: the tests of `spotscale-simulate` |
//! | L the return to spot | `scenarios::returning::scenario_l`, `real_karpenter::scenario_l` |
//! | 1 metadata | `scenarios::told::scenario_1`, `drain::s01` |
//! | 2 queue | `scenarios::told::scenario_2_and_d` |
//! | 3, 4 rebalance | `scenarios::advice::scenario_3` and `scenario_g`, `drain::s04` |
//! | 5 a node nobody knows | `scenarios::told::scenario_c_and_5` |
//! | 6 maintenance called off | `scenarios::planned::scenario_6`, `drain::s06` |
//! | 7 dry run | `scenarios::watching::scenario_7`, `drain::s07` |
//! | 8 the states of a machine | `scenarios::machines::scenario_8` |
//! | 9 cordon only | `scenarios::advice::scenario_9` |
//! | 10 trouble with the queue | `queue_trouble` and `moto` of the AWS crate, `intake::tests` of the crate |
//! | 12 ten messages in one receive | `scenarios::told::scenario_12` |
//! | 14 a hundred messages | `scenarios::told::scenario_14` |
//! | 15 the same warning twice, and the offering's mark | `scenarios::told::scenario_2_and_d`, `real_karpenter::karpenter_takes_the_order` |
//! | 16, 17 the machine goes | `scenarios::machines::scenario_16` and `scenario_17`, `real_karpenter::a_machine_that_ends_now` |
//! | 18, 19 budgets, deadlines | `drain`, `cluster`; what is critical goes last: `planner::tests::stories` of decide |
//! | 20 machines that are gone | `scenarios::machines::scenario_20` where the Node stays and is not ready, `scenario_8` where it is ready; `cluster` |
//!
//! Needs the programs that `scripts/setup.py cluster` builds, the definitions that `scripts/setup.py crds` brings, the
//! Python of `scripts/setup.py python`, ONNX Runtime, libfaketime, and root for the pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark tells how it goes")]

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
mod real_karpenter;
mod scale;
mod scenarios;
mod surge;
mod world;
