//! What a pod's containers are at, as they themselves say it; everything that is reported is made from this.

use std::net::IpAddr;

use jiff::Timestamp;

/// How one run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// 128 + the signal's number where a signal ended it, as container runtimes say it.
    pub(super) code: i32,
    pub(super) reason: &'static str,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// What a container is at. `Terminated` is for good: one that will be started again waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp, pid: u32 },
    Terminated(Ended),
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: i32,
    /// Its startup probe has passed.
    pub(super) started: bool,
    /// Its readiness probe passes.
    pub(super) ready: bool,
}

impl Slot {
    pub(super) fn new(name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            state: State::Waiting { reason: "ContainerCreating", message: String::new() },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
        }
    }

    /// The code of its last run, if it is over for good.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match &self.state {
            State::Terminated(ended) => Some(ended.code),
            _ => None,
        }
    }

    /// The process, while there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Board {
    pub(super) ip: IpAddr,
    pub(super) host_ip: IpAddr,
    pub(super) accepted: Timestamp,
    pub(super) init: Vec<Slot>,
    pub(super) containers: Vec<Slot>,
}

/// Which container of a pod.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Init(usize),
    Main(usize),
}

impl Board {
    pub(super) fn slot(&mut self, which: Which) -> &mut Slot {
        match which {
            Which::Init(index) => &mut self.init[index],
            Which::Main(index) => &mut self.containers[index],
        }
    }

    /// Every init container has done its work.
    pub(super) fn is_initialized(&self) -> bool {
        self.init.iter().all(|slot| slot.exit_code() == Some(0))
    }

    /// Every container is ready, and there is at least one.
    pub(super) fn is_ready(&self) -> bool {
        self.is_initialized() && self.containers.iter().all(|slot| slot.ready)
    }

    /// The phase, as the API names it.
    pub(super) fn phase(&self) -> &'static str {
        let failed_init = |slot: &Slot| slot.exit_code().is_some_and(|code| code != 0);
        let codes: Option<Vec<i32>> = self.containers.iter().map(Slot::exit_code).collect();
        match codes {
            Some(codes) if codes.iter().all(|code| *code == 0) => "Succeeded",
            Some(_) => "Failed",
            None if self.init.iter().any(failed_init) => "Failed",
            None if self.containers.iter().any(Self::has_run) => "Running",
            None => "Pending",
        }
    }

    fn has_run(slot: &Slot) -> bool {
        slot.restarts > 0 || !matches!(slot.state, State::Waiting { .. })
    }
}
