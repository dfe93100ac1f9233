//! `dari sandbox`: vendors played on this machine.

use std::net::SocketAddr;

use super::run::until_told;
use super::{CommandError, Result, output};
use crate::clock::Clock;
use crate::connectors::sandbox::{LOOPBACK, Served, serve};
use crate::connectors::{self, Manifest, Sandbox};

mod stage;

pub use stage::Stage;

/// Plays vendors.
#[derive(Debug, clap::Args)]
pub struct SandboxArgs {
    /// The connectors, as `works slack`; all that have a sandbox if none is named
    #[arg(value_name = "CONNECTOR")]
    pub connectors: Vec<String>,
    /// The port of the first; the others have those after it. Free ones if missing
    #[arg(long)]
    pub port: Option<u16>,
}

/// `dari sandbox`: until told to stop.
///
/// # Errors
/// A connector that is unknown or has no sandbox, or a port that is taken.
pub async fn sandbox(args: &SandboxArgs) -> Result {
    let picked = picked(&args.connectors).map_err(CommandError::Usage)?;
    let clock = Clock::system(0);
    let mut served = Vec::new();
    for (offset, (manifest, sandbox)) in (0_u16..).zip(picked) {
        let mut address = LOOPBACK;
        if let Some(port) = args.port {
            let port = port.checked_add(offset);
            address.set_port(port.ok_or_else(|| CommandError::Usage("there is no port above 65535".into()))?);
        }
        let one = start(sandbox, &clock, address).await?;
        output::line(told(manifest, &sandbox, &one))?;
        served.push(one);
    }
    output::line(format_args!("{HELP}Ctrl-C ends it.", HELP = help(served.first())))?;
    until_told().cancelled().await;
    for one in served {
        one.stop().await;
    }
    Ok(())
}

fn picked(names: &[String]) -> std::result::Result<Vec<(&'static Manifest, Sandbox)>, String> {
    let all = || connectors::ALL.iter().filter_map(|manifest| manifest.sandbox.map(|sandbox| (*manifest, sandbox)));
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |name: &String| {
        all().find(|(manifest, _)| manifest.name == name).ok_or_else(|| {
            let known: Vec<&str> = all().map(|(manifest, _)| manifest.name).collect();
            format!("there is no sandbox of `{name}`; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

async fn start(sandbox: Sandbox, clock: &Clock, address: SocketAddr) -> Result<Served> {
    let served = serve((sandbox.router)(clock.clone()), clock.clone(), address).await;
    served.map_err(|error| CommandError::Failed(format!("cannot listen on {address}: {error}")))
}

/// What a person needs to point an account at it.
fn told(manifest: &Manifest, sandbox: &Sandbox, served: &Served) -> String {
    let url = ("url", served.url.clone());
    let others = sandbox.knows.iter().filter(|(key, _)| *key != "url");
    let rows = std::iter::once(url).chain(others.map(|(key, value)| (*key, stage::known(value, &served.url))));
    let names = std::iter::once(manifest.name).chain(std::iter::repeat(""));
    // A key of several lines is one, as in an environment.
    let one = |value: String| value.trim().replace('\n', "\\n");
    let lines = names.zip(rows).map(|(name, (key, value))| format!("{name:<12} {key}: {}\n", one(value)));
    lines.collect::<Vec<_>>().concat()
}

fn help(served: Option<&Served>) -> String {
    let url = served.map_or("", |served| served.url.as_str());
    format!(
        "What they hold, and what they were asked:
  curl {url}/_sandbox/state
  curl {url}/_sandbox/calls
Faults: too-many-requests (after: seconds), server-error, timeout, reset-before, reset-after, garbage, slow (ms)
  curl {url}/_sandbox/faults -d '{{\"fault\": \"too-many-requests\", \"after\": 2, \"times\": 3}}'
  curl -X DELETE {url}/_sandbox/faults
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_have_one_or_those_that_are_named() {
        let names = |picked: &[&str]| {
            let picked = picked.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            super::picked(&picked).map(|all| all.iter().map(|(manifest, _)| manifest.name).collect::<Vec<_>>())
        };
        assert!(names(&[]).unwrap().contains(&"works"));
        assert_eq!(names(&["slack", "walla"]).unwrap(), ["slack", "walla"]);
        let why = names(&["github"]).unwrap_err();
        assert!(why.starts_with("there is no sandbox of `github`; there are walla, works"), "{why}");
    }

    #[tokio::test]
    async fn tells_what_an_account_needs() {
        let manifest = &crate::connectors::slack::MANIFEST;
        let sandbox = manifest.sandbox.unwrap();
        let served = start(sandbox, &Clock::system(0), LOOPBACK).await.unwrap();
        let told = told(manifest, &sandbox, &served).replace(&served.url, "URL");
        insta::assert_snapshot!(told, @r"
        slack        url: URL
                     bot_token: xoxb-sandbox
                     channel: C0123456789
                     webhook_url: URL/services/T0SANDBOX/B0SANDBOX/sandbox
        ");
    }
}
