//! What is asked of a birth, and what is made of its answer: the same for a launch helper and for a caller that is its own.
//!
//! Owns the caller's ends of the sockets until there is a sandbox. Never gives birth itself.
//! Invariant: the limits are set up before the first process is born, and a group without a sandbox is dropped.

use super::client::BuildError;
use crate::cgroup::{ControlGroup, EnforcedLimit};
use crate::identity::Identity;
use crate::layer::{Enforced, Layer, MissingLayer, Tier};
use crate::limit::Limiting;
use crate::plan::{Plan, PlanSpec, Planned};
use crate::policy::Isolation;
use crate::protocol::HandedOver;
use crate::sandbox::Sandbox;
use crate::wire;
use std::io;
use std::os::fd::OwnedFd;

/// A plan on its way.
#[derive(Debug)]
pub(super) struct Order {
    control: OwnedFd,
    reports: OwnedFd,
    group: Option<ControlGroup>,
    limits: Vec<EnforcedLimit>,
    not_in_group: Option<MissingLayer>,
    tier: Tier,
    landlock_abi: Option<u32>,
    planned: Planned,
    required: Vec<Layer>,
    refused: Option<String>,
}

impl Order {
    /// Sets limits and sockets up; gives the plan and the descriptors of [`HelperRequest::Build`](crate::protocol::HelperRequest::Build).
    /// `refused` says why it is not a better tier, if one was tried.
    pub(super) fn new(
        plan: Plan,
        refused: Option<String>,
    ) -> io::Result<(Self, PlanSpec, Vec<OwnedFd>)> {
        let isolation = plan.spec.isolation;
        let limiting = Limiting::prepare(
            &plan.limits,
            plan.group.as_deref().map(|name| (name, plan.movable)),
            isolation,
        )?;
        let (control, init_control) = wire::pair()?;
        let (reports, init_reports) = wire::pair()?;
        let mut descriptors = vec![init_control, init_reports];
        descriptors.extend(limiting.descriptors);
        descriptors.extend(plan.descriptors);
        let order = Self {
            control,
            reports,
            group: limiting.group,
            limits: limiting.enforced,
            not_in_group: limiting.missing,
            tier: match isolation {
                Isolation::Full => Tier::Full,
                Isolation::Container => Tier::Container,
                Isolation::None => Tier::None,
            },
            landlock_abi: plan.spec.domain.abi(),
            planned: plan.spec.planned(),
            required: plan.required,
            refused,
        };
        let spec = PlanSpec {
            limits: limiting.spec,
            ..plan.spec
        };
        Ok((order, spec, descriptors))
    }

    /// The sandbox that was born, and the first layer that it lacks although the policy requires it.
    pub(super) fn fulfil(
        self,
        init_pid: i32,
        mut missing: Vec<MissingLayer>,
        identity: Identity,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Sandbox, Option<MissingLayer>), BuildError> {
        missing.extend(self.not_in_group);
        let refused = self.refused.as_deref();
        let mut enforced = Enforced::new(self.tier, missing, self.landlock_abi, refused);
        enforced.limits = self.limits;
        if self.tier == Tier::Container && !identity.is_own {
            enforced.sample_processes();
        }
        let handed_over = HandedOver::received(self.planned, descriptors)
            .ok_or_else(|| BuildError::Helper(super::client::unexpected()))?;
        let lacking = enforced.lacks(&self.required);
        let sandbox = Sandbox::new(self.control, self.reports, init_pid, enforced, handed_over);
        let sandbox = sandbox.with_id_of_starter(identity.is_kept());
        Ok((sandbox.with_group(self.group), lacking))
    }
}
