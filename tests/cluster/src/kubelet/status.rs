//! A pod's status as the API has it, from what its containers are at. Pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::board::{Board, Ended, Slot, State};

/// The status. A condition keeps the time of its last change as it was in `before`, unless it changes now.
pub(super) fn of(board: &Board, before: &[PodCondition], now: Timestamp) -> PodStatus {
    let statuses = |slots: &[Slot]| slots.iter().map(container).collect();
    PodStatus {
        phase: Some(board.phase().to_owned()),
        conditions: Some(conditions(board, before, now)),
        container_statuses: Some(statuses(&board.containers)),
        init_container_statuses: Some(statuses(&board.init)),
        pod_ip: Some(board.ip.to_string()),
        pod_ips: Some(vec![PodIP { ip: board.ip.to_string() }]),
        host_ip: Some(board.host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: board.host_ip.to_string() }]),
        start_time: Some(Time(board.accepted)),
        ..PodStatus::default()
    }
}

fn conditions(board: &Board, before: &[PodCondition], now: Timestamp) -> Vec<PodCondition> {
    let over = matches!(board.phase(), "Succeeded" | "Failed");
    let unready = if over { "PodCompleted" } else { "ContainersNotReady" };
    [
        ("PodScheduled", true, ""),
        ("Initialized", board.is_initialized(), "ContainersNotInitialized"),
        ("ContainersReady", board.is_ready(), unready),
        ("Ready", board.is_ready(), unready),
    ]
    .into_iter()
    .map(|(type_, holds, reason)| {
        let status = if holds { "True" } else { "False" };
        let same = before.iter().find(|old| old.type_ == type_ && old.status == status);
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: (!holds).then(|| reason.to_owned()),
            last_transition_time: same
                .and_then(|old| old.last_transition_time.clone())
                .or(Some(Time(now))),
            ..PodCondition::default()
        }
    })
    .collect()
}

fn container(slot: &Slot) -> ContainerStatus {
    let last = slot.last.as_ref().map(|ended| ContainerState {
        terminated: Some(terminated(ended)),
        ..ContainerState::default()
    });
    ContainerStatus {
        name: slot.name.clone(),
        image: slot.image.clone(),
        image_id: slot.image.clone(),
        container_id: slot.pid().map(|pid| format!("process://{pid}")),
        state: Some(state(&slot.state)),
        last_state: last,
        restart_count: slot.restarts,
        started: Some(slot.started),
        ready: slot.ready,
        ..ContainerStatus::default()
    }
}

fn state(state: &State) -> ContainerState {
    let mut out = ContainerState::default();
    match state {
        State::Waiting { reason, message } => {
            let message = Some(message.clone()).filter(|message| !message.is_empty());
            let reason = Some((*reason).to_owned());
            out.waiting = Some(ContainerStateWaiting { reason, message });
        }
        State::Running { since, .. } => {
            out.running = Some(ContainerStateRunning { started_at: Some(Time(*since)) });
        }
        State::Terminated(ended) => out.terminated = Some(terminated(ended)),
    }
    out
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(ended.reason.to_owned()),
        started_at: Some(Time(ended.started)),
        finished_at: Some(Time(ended.finished)),
        ..ContainerStateTerminated::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 2));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn board(init: &[State], main: &[State]) -> Board {
        let slot = |state: &State| Slot { state: state.clone(), ..Slot::new("c", "image") };
        Board {
            ip: ADDRESS,
            host_ip: ADDRESS,
            accepted: at(0),
            init: init.iter().map(slot).collect(),
            containers: main.iter().map(slot).collect(),
        }
    }

    fn waiting() -> State {
        State::Waiting { reason: "ContainerCreating", message: String::new() }
    }

    fn ended(code: i32) -> State {
        State::Terminated(Ended { code, reason: "Error", started: at(1), finished: at(2) })
    }

    const RUNNING: State = State::Running { since: Timestamp::UNIX_EPOCH, pid: 7 };

    #[test]
    fn the_phase_follows_the_containers() {
        let phase = |init: &[State], main: &[State]| board(init, main).phase();
        assert_eq!(phase(&[], &[waiting(), waiting()]), "Pending");
        assert_eq!(phase(&[ended(1)], &[waiting()]), "Failed");
        assert_eq!(phase(&[], &[waiting(), RUNNING]), "Running");
        assert_eq!(phase(&[], &[ended(0), RUNNING]), "Running");
        assert_eq!(phase(&[], &[ended(0), ended(0)]), "Succeeded");
        assert_eq!(phase(&[], &[ended(0), ended(143)]), "Failed");
        let mut crashing = board(&[], &[waiting()]);
        crashing.containers[0].restarts = 1;
        assert_eq!(crashing.phase(), "Running", "it is between two runs");
    }

    #[test]
    fn a_condition_remembers_when_it_changed() {
        let mut board = board(&[ended(0)], &[RUNNING, RUNNING]);
        board.containers[0].ready = true;
        let first = conditions(&board, &[], at(10));
        assert_eq!(first[1].status, "True", "initialized");
        assert_eq!(first[3].status, "False", "one container is not ready");
        assert_eq!(first[3].reason.as_deref(), Some("ContainersNotReady"));

        board.containers[1].ready = true;
        let second = conditions(&board, &first, at(20));
        assert_eq!((second[3].status.as_str(), &second[3].reason), ("True", &None));
        assert_eq!(second[3].last_transition_time, Some(Time(at(20))));
        assert_eq!(second[1].last_transition_time, Some(Time(at(10))));
    }

    #[test]
    fn a_restarted_container_keeps_its_last_end() {
        let mut board = board(&[], &[RUNNING]);
        board.containers[0].restarts = 1;
        board.containers[0].last =
            Some(Ended { code: 137, reason: "Error", started: at(1), finished: at(2) });
        let status = of(&board, &[], at(3)).container_statuses.unwrap().remove(0);
        assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 137);
        assert!(status.state.unwrap().running.is_some());
        assert_eq!(status.restart_count, 1);
    }
}
