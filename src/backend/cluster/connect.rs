//! Connection to the cluster that the user chose.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::timeout;

use super::request::{is_connection, say, status_code};
use crate::backend::Error;

/// The cluster to use, and the user.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The kubeconfig file. `None` means the default files, or the Pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context. `None` means the current one.
    pub context: Option<String>,
}

impl Target {
    /// Returns the options of a command for this target, each after a space.
    pub fn as_options(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| ("--kubeconfig", path.display().to_string()));
        let context = self.context.clone().map(|context| ("--context", context));
        let given = kubeconfig.into_iter().chain(context);
        given.map(|(option, value)| format!(" {option} {}", shell_word(&value))).collect()
    }
}

/// Returns a text as one word of a shell command.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A connection to a cluster's API server.
pub(super) struct Connected {
    pub(super) client: Client,
    /// Name of the cluster for reports: the name of its context.
    pub(super) name: String,
    /// The API server's version, such as `v1.36.2`.
    pub(super) version: String,
}

/// Maximum time until the API server accepts the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time until its first answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Connects to the cluster, and checks that its API server answers and knows the user.
pub(super) async fn connect(target: &Target) -> Result<Connected, Error> {
    let (mut config, name) = config(target).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let url = config.cluster_url.clone();
    let client = Client::try_from(config)
        .map_err(|error| unavailable(format!("cannot use the kubeconfig for {name}: {}", say(&error))))?;
    let asked = timeout(ANSWER, client.apiserver_version()).await;
    let asked = asked.unwrap_or_else(|_| Err(kube::Error::Service("it did not answer".into())));
    let version = asked.map_err(|error| {
        unavailable(match status_code(&error) {
            Some(401) => format!("the API server at {url} does not know this user: {}", say(&error)),
            Some(403) => format!("the API server at {url} refuses this user: {}", say(&error)),
            Some(_) => format!("the API server at {url} failed: {}", say(&error)),
            None if is_connection(&error) => {
                format!("cannot reach the API server at {url}: {}", say(&error))
            }
            None => format!("the API server at {url} did not answer as one: {}", say(&error)),
        })
    })?;
    Ok(Connected { client, name, version: version.git_version })
}

async fn config(target: &Target) -> Result<(Config, String), Error> {
    let read = match &target.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        // Inside a Pod there is no kubeconfig.
        Err(error) => {
            let incluster = Config::incluster().ok().filter(|_| target.kubeconfig.is_none());
            return match (incluster, &target.context) {
                (Some(config), None) => Ok((config, "the cluster around this pod".to_owned())),
                (Some(_), Some(_)) | (None, _) => {
                    let advice = "name one with --kubeconfig or KUBECONFIG";
                    Err(unavailable(format!("no kubeconfig: {error}: {advice}")))
                }
            };
        }
    };
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let current = kubeconfig.current_context.clone().filter(|context| !context.is_empty());
    let Some(context) = target.context.clone().or(current) else {
        let known = known.join(", ");
        return Err(unavailable(format!(
            "the kubeconfig has no current context: choose one with --context: {known}"
        )));
    };
    if !known.contains(&context.as_str()) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(unavailable(format!("--context {context}: the kubeconfig knows {known}")));
    }
    let options = KubeConfigOptions { context: Some(context.clone()), cluster: None, user: None };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unavailable(format!("cannot use context {context}: {error}")))?;
    Ok((config, context))
}

fn unavailable(message: String) -> Error {
    Error::Unavailable(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_has_the_target_of_the_run() {
        assert_eq!(Target::default().as_options(), "");
        let target =
            Target { kubeconfig: Some("my clusters/a".into()), context: Some("kind-test".to_owned()) };
        assert_eq!(target.as_options(), " --kubeconfig 'my clusters/a' --context kind-test");
    }
}
