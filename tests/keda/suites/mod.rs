//! What KEDA's own suites expect of an external scaler and of the features around one, as scenarios of ours with their
//! outcomes. The tests have the names of KEDA's folders.
//!
//! | KEDA's suite | expected | where ours differs |
//! |---|---|---|
//! | `external_scaler_so` | 10 is 1 replica, 20 are 2, 0 is none | requests in flight; a replica takes ten |
//! | `external_push_scaler` | the same; 22.222 of 6.111 are 3 of at most 3 | the float is a formula's |
//! | `external_push_scaler_old_proto` | the same without the float fields | the reply has both; see `keda/service.rs` |
//! | `external_scaler_sj` | 30 are 3 jobs, 0 is none | the jobs end when the test lets them |
//! | `cache_metrics` | cached 4 stay for a minute, others go to 2 | |
//! | `idle_replicas` | 0, 2, 4, 0 | |
//! | `polling_cooldown_so` | nothing before the next poll, nothing before the cooldown | |
//! | `initial_delay_cooldownperiod` | one that was never active stays for so long | |
//! | `scaling_modifiers` | 0 at the activation target, 3, fallback 5, 2, 0 by `count()`, 3 | |
//! | `fallback`, modifiers | 8, secondary 6, constant 4, 8 again | |
//! | `fallback` | the fallback's replicas, and back | |
//! | `value_metric_type` | 4 by `AverageValue`, 10 of at most 10 by `Value` | 4 of 1, not 8 of 2 |
//! | `status_update` | the types of triggers and authentications | and the push goes on |
//! | `pause_scale_in`, `force_activation`, `restore_original`, `trigger_update_so` | as named | |
//!
//! The scaler's target is always 1 and its number whole, by design: it says how many replicas there should be. So a
//! threshold is how many requests a replica takes, and a float only comes about in a formula. KEDA's suites wait for a
//! minute at a poll every 5 s and an HPA that looks every 15 s; both look every second here, so the waits are shorter.

mod external;
mod features;
mod formula;
mod timing;
