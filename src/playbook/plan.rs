//! The plan of a run for people: what each step would run, with what, and what is decided only in the run.

use std::collections::BTreeMap;
use std::fmt;

use super::duration::shown as duration;
use super::expression::{EvaluationError, Scope, StepState};
use super::model::{
    Argument, Expectations, OnFailure, Playbook, Retries, RetryScope, Step, TextExpectation,
};
use super::rules::skipped_before;

/// What `--dry-run` prints; its `Display` holds no secret.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The playbook.
    pub playbook: &'a Playbook,
    /// The value of each parameter.
    pub arguments: &'a BTreeMap<String, Argument>,
    /// The number of the first step that is run.
    pub first_step: usize,
    /// The steps that succeeded in the run that this one goes on from.
    pub earlier: &'a BTreeMap<String, StepState>,
}

impl Plan<'_> {
    fn scope<'s>(&'s self, steps: &'s BTreeMap<String, StepState>) -> Scope<'s> {
        Scope {
            arguments: self.arguments,
            steps,
            has_failed: false,
        }
    }
}

impl Plan<'_> {
    /// What is known of steps before the run: those that are skipped, unless a jump can run one of them all the same.
    fn known_steps(&self) -> BTreeMap<String, StepState> {
        let leads_back = |step: &Step| match step.on_failure {
            OnFailure::Goto(target) => target < self.first_step,
            OnFailure::Abort | OnFailure::Continue => false,
        };
        let mut run = self.playbook.steps.iter().skip(self.first_step);
        if run.any(leads_back) {
            return BTreeMap::new();
        }
        skipped_before(self.playbook, self.first_step, self.earlier)
    }
}

impl Plan<'_> {
    /// The steps that would fail whatever the run does: those of whose condition or variables it is known already that they
    /// have no value. One sentence each.
    pub fn faults(&self) -> Vec<String> {
        let steps = self.known_steps();
        let scope = self.scope(&steps);
        let run = self.playbook.steps.iter().skip(self.first_step);
        let run = run.chain(&self.playbook.finally);
        let fault = |step: &Step| {
            let condition = step.condition.as_ref();
            // What is decided in the run may yet skip the step.
            if condition.is_some_and(|condition| !condition.is_known_in(scope)) {
                return None;
            }
            let (what, error) = match condition.map(|condition| condition.holds(scope)) {
                Some(Ok(false)) => return None,
                Some(Err(error)) => ("its condition".to_owned(), error),
                Some(Ok(true)) | None => {
                    let mut env = step
                        .env
                        .iter()
                        .filter(|(_, value)| value.is_known_in(scope));
                    env.find_map(|(name, value)| {
                        let error = value.render(scope).err()?;
                        Some((format!("its variable {name}"), error))
                    })?
                }
            };
            Some(format!(
                "the step {} fails: {what} has no value: {error}",
                step.id
            ))
        };
        run.filter_map(fault).collect()
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.known_steps();
        let scope = self.scope(&steps);
        let playbook = self.playbook;
        write!(f, "playbook {}", playbook.name)?;
        if !playbook.description.is_empty() {
            write!(f, ": {}", playbook.description.trim())?;
        }
        writeln!(f)?;
        if !playbook.parameters.is_empty() {
            writeln!(f, "\nparameters")?;
            for parameter in &playbook.parameters {
                let kind = parameter.kind.name();
                match self.arguments.get(&parameter.name) {
                    Some(argument) => {
                        writeln!(f, "  {} = {argument:?} ({kind})", parameter.name)?;
                    }
                    None => writeln!(f, "  {} ({kind})", parameter.name)?,
                }
            }
        }
        writeln!(f, "\nsteps")?;
        for (idx, step) in playbook.steps.iter().enumerate() {
            let is_before = idx < self.first_step;
            self.step(f, idx + 1, step, scope, is_before)?;
        }
        if !playbook.finally.is_empty() {
            writeln!(f, "\nfinally")?;
            for (idx, step) in playbook.finally.iter().enumerate() {
                self.step(f, playbook.steps.len() + idx + 1, step, scope, false)?;
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    fn step(
        &self,
        f: &mut fmt::Formatter<'_>,
        number: usize,
        step: &Step,
        scope: Scope<'_>,
        is_before_the_first: bool,
    ) -> fmt::Result {
        write!(f, "  {number}. {}", step.id)?;
        if step.name != step.id {
            write!(f, ": {}", step.name)?;
        }
        writeln!(f)?;
        if is_before_the_first {
            return match self.earlier.contains_key(&step.id) {
                true => writeln!(f, "     skipped: taken over from the earlier run"),
                false => writeln!(f, "     skipped: the run begins with a later step"),
            };
        }
        if let Some(condition) = &step.condition {
            let written = condition.written();
            if !condition.is_known_in(scope) {
                writeln!(f, "     if {written}: decided in the run")?;
            } else {
                match condition.holds(scope) {
                    Ok(true) => writeln!(f, "     if {written}: holds")?,
                    Ok(false) => {
                        return writeln!(f, "     skipped: {written} does not hold");
                    }
                    Err(error @ (EvaluationError::NotANumber | EvaluationError::NotABoolean)) => {
                        writeln!(f, "     if {written}: {error}")?;
                    }
                }
            }
        }
        for line in step.run.shown().lines() {
            writeln!(f, "     $ {line}")?;
        }
        if let Some(directory) = &step.directory {
            writeln!(f, "     in {directory}")?;
        }
        for (name, value) in &step.env {
            writeln!(f, "     {name}={:?}", value.shown(scope))?;
        }
        let expected = expected(&step.expect, scope);
        writeln!(f, "     expects {}", expected.join("; "))?;
        if let Some(verify) = step.verify {
            let (within, every) = (duration(verify.within), duration(verify.every));
            writeln!(f, "     looks again every {every} within {within}")?;
        }
        for (name, output) in &step.outputs {
            writeln!(f, "     output {name} = {}", output.written())?;
        }
        write!(f, "     at most {}", duration(step.timeout))?;
        retries(f, &step.retries)?;
        match step.on_failure {
            OnFailure::Abort => writeln!(f),
            OnFailure::Continue => writeln!(f, "; goes on after a failure"),
            OnFailure::Goto(target) => {
                let id = self.playbook.steps.get(target).map(|step| step.id.as_str());
                writeln!(f, "; goes to {} after a failure", id.unwrap_or_default())
            }
        }
    }
}

fn retries(f: &mut fmt::Formatter<'_>, retries: &Retries) -> fmt::Result {
    if retries.max == 0 {
        return Ok(());
    }
    let noun = if retries.max == 1 { "retry" } else { "retries" };
    let of = match retries.scope {
        RetryScope::Step => "",
        RetryScope::Verify => " of the checks",
    };
    let delay = duration(retries.delay);
    match retries.max {
        1 => write!(f, "; 1 {noun}{of}, after {delay}")?,
        max => write!(f, "; {max} {noun}{of}, {delay} apart")?,
    }
    if retries.backoff > 1.0 {
        let longest = duration(retries.max_delay);
        write!(
            f,
            ", {} times longer each, up to {longest}",
            retries.backoff
        )?;
    }
    Ok(())
}

fn expected(expect: &Expectations, scope: Scope<'_>) -> Vec<String> {
    let numbers = |numbers: Vec<String>| numbers.join(" or ");
    let exit = expect.exit.iter().map(ToString::to_string).collect();
    let mut expected = vec![format!("exit {}", numbers(exit))];
    texts(&mut expected, "stdout", &expect.stdout, scope);
    texts(&mut expected, "stderr", &expect.stderr, scope);
    for file in &expect.files {
        let path = file.path.shown(scope);
        match file.exists {
            true => expected.push(format!("file {path}")),
            false => expected.push(format!("no file {path}")),
        }
        texts(&mut expected, &path, &file.content, scope);
    }
    for http in &expect.http {
        let url = http.url.shown(scope);
        let status = http.status.iter().map(ToString::to_string).collect();
        expected.push(format!("{url} answers {}", numbers(status)));
        texts(&mut expected, &url, &http.body, scope);
    }
    expected
}

fn texts(expected: &mut Vec<String>, what: &str, texts: &[TextExpectation], scope: Scope<'_>) {
    for text in texts {
        expected.push(match text {
            TextExpectation::Contains(part) => {
                format!("{what} contains {:?}", part.shown(scope))
            }
            TextExpectation::NotContains(part) => {
                format!("{what} does not contain {:?}", part.shown(scope))
            }
            TextExpectation::Equals(whole) => {
                format!("{what} is {:?}", whole.shown(scope))
            }
            TextExpectation::Matches(pattern) => {
                format!("{what} matches {}", pattern.shown())
            }
        });
    }
}
