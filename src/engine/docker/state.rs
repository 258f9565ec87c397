//! What the engine says of a container, in our words.
//!
//! Pure. Invariant: the memory limit killed the main process only where it also ended by SIGKILL; the flag alone means one of
//! its children.

use bollard::models::{ContainerState, ContainerStateStatusEnum as Status};

use crate::engine::{EngineState, PendingReason};

/// Exit code of a process that SIGKILL ended.
const KILLED: i64 = 137;

/// The state of a container that was found.
pub(super) fn of(state: Option<&ContainerState>) -> EngineState {
    let Some(state) = state else {
        return EngineState::Unknown;
    };
    match state.status {
        Some(Status::CREATED) => EngineState::Pending(PendingReason::Created),
        Some(Status::RESTARTING) => EngineState::Pending(PendingReason::Restarting),
        Some(Status::RUNNING | Status::PAUSED | Status::STOPPING) => EngineState::Running,
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => {
            let code = state.exit_code;
            EngineState::Exited {
                code: code.and_then(|code| i32::try_from(code).ok()),
                oom: state.oom_killed == Some(true) && code == Some(KILLED),
            }
        }
        Some(Status::EMPTY) | None => EngineState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i64, oom: bool) -> EngineState {
        of(Some(&ContainerState {
            status: Some(Status::EXITED),
            exit_code: Some(code),
            oom_killed: Some(oom),
            ..ContainerState::default()
        }))
    }

    #[test]
    fn the_flag_of_memory_means_the_main_process_only_where_it_was_killed() {
        for (code, flag, oom) in [
            (137, true, true),
            (137, false, false),
            (0, true, false),
            (1, true, false),
        ] {
            let code32 = i32::try_from(code).ok();
            assert_eq!(
                exited(code, flag),
                EngineState::Exited { code: code32, oom }
            );
        }
    }

    #[test]
    fn every_word_of_the_engine_has_a_state_and_an_unknown_one_ends_nothing() {
        let word = |status| {
            of(Some(&ContainerState {
                status: Some(status),
                ..ContainerState::default()
            }))
        };
        assert_eq!(
            word(Status::CREATED),
            EngineState::Pending(PendingReason::Created)
        );
        assert_eq!(
            word(Status::RESTARTING),
            EngineState::Pending(PendingReason::Restarting)
        );
        for status in [Status::RUNNING, Status::PAUSED, Status::STOPPING] {
            assert_eq!(word(status), EngineState::Running);
        }
        for status in [Status::EXITED, Status::DEAD, Status::REMOVING] {
            assert!(matches!(word(status), EngineState::Exited { .. }));
        }
        assert_eq!(word(Status::EMPTY), EngineState::Unknown);
        assert_eq!(of(None), EngineState::Unknown);
    }
}
