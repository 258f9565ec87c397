//! The hand-over: a resolved description and the options, as bytes, from the process that read the command line to the
//! supervisor.
//!
//! It is the one place that serialises secrets. Its bytes belong into a memory file that only the two processes hold,
//! never into a file, an argument or a log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Credential, CredentialSource, Expose, PlaybookRun, RunDescription, Secret, SupervisorOptions,
};

/// A resolved run, ready to be handed to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The run.
    pub description: RunDescription,
    /// The options of the supervisor.
    pub options: SupervisorOptions,
}

/// A hand-over could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It has no JSON form: a path is not UTF-8.
    #[error("the run description cannot be written for the supervisor")]
    Write(#[source] serde_json::Error),
    /// The bytes are not those of a hand-over of the same build.
    #[error("the run description cannot be read by the supervisor")]
    Read(#[source] serde_json::Error),
}

/// The form on the wire: the secrets stand beside the rest, which holds none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    description: RunDescription,
    options: SupervisorOptions,
    credentials: BTreeMap<String, (CredentialSource, Option<String>, Expose, String)>,
    secret_parameters: BTreeMap<String, String>,
    token: Option<String>,
    read_token: Option<String>,
}

impl HandOver {
    /// The bytes, with every secret in them.
    ///
    /// # Errors
    ///
    /// A path that is not UTF-8, which resolving a description refuses already.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HandOverError> {
        let mut description = self.description.clone();
        let mut options = self.options.clone();
        let exposed = |secret: Secret| secret.expose().to_owned();
        let playbook = description.playbook.as_mut();
        let wire = Wire {
            secret_parameters: playbook
                .map(PlaybookRun::take_secrets)
                .unwrap_or_default()
                .into_iter()
                .map(|(name, secret)| (name, exposed(secret)))
                .collect(),
            credentials: std::mem::take(&mut description.credentials)
                .into_iter()
                .map(|(name, credential)| {
                    let Credential {
                        source,
                        from,
                        expose,
                        secret,
                    } = credential;
                    (name, (source, from, expose, exposed(secret)))
                })
                .collect(),
            token: options.token.take().map(exposed),
            read_token: options.read_token.take().map(exposed),
            description,
            options,
        };
        serde_json::to_vec(&wire).map_err(HandOverError::Write)
    }

    /// Reads the bytes that [`HandOver::to_bytes`] made.
    ///
    /// # Errors
    ///
    /// Bytes that another build made, or that were cut.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HandOverError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(HandOverError::Read)?;
        let mut description = wire.description;
        description.credentials = wire
            .credentials
            .into_iter()
            .map(|(name, (source, from, expose, text))| {
                let secret = Secret::new(text);
                let credential = Credential {
                    source,
                    from,
                    expose,
                    secret,
                };
                (name, credential)
            })
            .collect();
        if let Some(playbook) = &mut description.playbook {
            let secrets = wire.secret_parameters.into_iter();
            playbook.give_secrets(secrets.map(|(name, text)| (name, Secret::new(text))));
        }
        let mut options = wire.options;
        options.token = wire.token.map(Secret::new);
        options.read_token = wire.read_token.map(Secret::new);
        Ok(Self {
            description,
            options,
        })
    }
}
