//! The variables of a step with their values.
//!
//! Owns the rendering. Invariant: each of them can be given to a process, and none is shown, for they may be secrets.

use crate::playbook::expression::Scope;
use crate::playbook::model::Step;
use crate::playbook::rules::check_variable;

/// Variables, which may be secrets.
pub(super) struct Env(Vec<(String, String)>);

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

impl Env {
    /// The variables of a step as they are now.
    ///
    /// # Errors
    /// One clause, when a variable has no value that a process can be given.
    pub(super) fn of(step: &Step, scope: Scope<'_>) -> Result<Self, String> {
        let mut env = Vec::with_capacity(step.env.len());
        for (name, value) in &step.env {
            let value = value
                .render(scope)
                .map_err(|error| format!("env {name} has no value: {error}"))?;
            check_variable(name, &value)?;
            env.push((name.clone(), value));
        }
        Ok(Self(env))
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}
