//! What OpenTelemetry's variables say (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>,
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). A variable that is empty is as
//! if it were not set, and one for traces goes before the one for all signals.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::connectors::call::secret_header;

/// Where spans go, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The whole address.
    pub(super) url: Url,
    /// Sent along; each is a secret.
    pub(super) headers: HeaderMap,
    /// What all spans are of: `service.name` and whatever else the operator says.
    pub(super) resource: Vec<(String, String)>,
    /// How many spans wait at the most.
    pub(super) queue: usize,
    /// How many are sent at once at the most.
    pub(super) batch: usize,
    /// How long a span waits for others to go with it.
    pub(super) delay: Duration,
    /// How long an answer is waited for.
    pub(super) timeout: Duration,
}

/// A variable that cannot be gone by. Never its value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct Unfit {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// The variables by name.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads the variables; `None` if none of them names a collector, or spans are switched off.
    ///
    /// # Errors
    /// [`Unfit`]: an address that is none, headers or numbers that cannot be read.
    pub fn from_env(env: Env<'_>) -> Result<Option<Self>, Unfit> {
        let set = |name: &'static str| env(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let says = |name, value: &str| set(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
        if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some(url) = address(&set)? else { return Ok(None) };
        warn_of_others(&set);
        let number = |names: &[&'static str], default| number(&set, names, default);
        let timeout = number(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], 10_000)?;
        let delay = number(&["OTEL_BSP_SCHEDULE_DELAY"], 5_000)?;
        let queue = count(number(&["OTEL_BSP_MAX_QUEUE_SIZE"], 2_048)?);
        let batch = count(number(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512)?);
        Ok(Some(Self {
            url,
            headers: headers(&set)?,
            resource: resource(&set)?,
            queue,
            batch,
            delay: Duration::from_millis(delay),
            timeout: Duration::from_millis(timeout),
        }))
    }
}

type Set<'a> = &'a dyn Fn(&'static str) -> Option<String>;

fn first(set: Set<'_>, names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| Some((*name, set(name)?)))
}

/// The address for traces is used as it is; that for all signals is where `v1/traces` is below.
fn address(set: Set<'_>) -> Result<Option<Url>, Unfit> {
    let (whole, base) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
    let Some((variable, text)) = first(set, &[whole, base]) else { return Ok(None) };
    let unfit = || Unfit { variable, why: "it is to be an address like http://localhost:4318".to_owned() };
    let mut url = Url::parse(&text).map_err(|_| unfit())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unfit());
    }
    if variable == base {
        url.path_segments_mut().map_err(|()| unfit())?.pop_if_empty().extend(["v1", "traces"]);
    }
    Ok(Some(url))
}

/// What is set and not gone by.
fn warn_of_others(set: Set<'_>) {
    let protocol = first(set, &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((variable, _)) = protocol.filter(|(_, protocol)| protocol == "grpc") {
        tracing::warn!("{variable}: spans are sent over HTTP, as JSON, not over gRPC: give that port, most often 4318");
    }
    let sampler = set("OTEL_TRACES_SAMPLER");
    if sampler.is_some_and(|sampler| sampler != "parentbased_always_on") {
        tracing::warn!("OTEL_TRACES_SAMPLER: spans are made as `parentbased_always_on` says, whatever else is set");
    }
}

fn headers(set: Set<'_>) -> Result<HeaderMap, Unfit> {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
    let Some((variable, text)) = first(set, &names) else { return Ok(HeaderMap::new()) };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(variable, &text)? {
        let unfit = || Unfit { variable, why: "a name or value is one that no header can have".to_owned() };
        let name = HeaderName::from_str(&name).map_err(|_| unfit())?;
        headers.append(name, secret_header(&value).ok_or_else(unfit)?);
    }
    Ok(headers)
}

/// `OTEL_SERVICE_NAME` goes before a `service.name` among the attributes.
fn resource(set: Set<'_>) -> Result<Vec<(String, String)>, Unfit> {
    let variable = "OTEL_RESOURCE_ATTRIBUTES";
    let mut said = set(variable).map_or_else(|| Ok(Vec::new()), |text| pairs(variable, &text))?;
    let mut defaults = vec![("service.version", env!("CARGO_PKG_VERSION").to_owned())];
    match set("OTEL_SERVICE_NAME") {
        Some(name) => {
            said.retain(|(key, _)| key != "service.name");
            said.insert(0, ("service.name".to_owned(), name));
        }
        None => defaults.insert(0, ("service.name", env!("CARGO_PKG_NAME").to_owned())),
    }
    defaults.retain(|(key, _)| said.iter().all(|(own, _)| own != key));
    Ok(defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(said).collect())
}

/// Reads `key=value,key=value`, where values are percent-encoded.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, Unfit> {
    let unfit = || Unfit { variable, why: "it is to be key=value, with commas between several".to_owned() };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(unfit)?;
            let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| unfit())?;
            Ok((key.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

fn number(set: Set<'_>, names: &[&'static str], default: u64) -> Result<u64, Unfit> {
    let Some((variable, text)) = first(set, names) else { return Ok(default) };
    let unfit = |_| Unfit { variable, why: "it is to be a whole number".to_owned() };
    text.parse().map_err(unfit)
}

/// How many spans: at least one, and no more than any queue takes.
fn count(number: u64) -> usize {
    usize::try_from(number.clamp(1, 1 << 20)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Option<Settings>, Unfit> {
        Settings::from_env(&|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn url(env: &[(&str, &str)]) -> String {
        read(env).expect("fit").expect("on").url.into()
    }

    const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const WHOLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn the_address_for_traces_is_whole_and_the_other_a_base() {
        assert_eq!(url(&[(BASE, "http://c:4318")]), "http://c:4318/v1/traces");
        assert_eq!(url(&[(BASE, "https://c/otlp/")]), "https://c/otlp/v1/traces");
        assert_eq!(url(&[(BASE, "http://c:4318"), (WHOLE, "http://d/in")]), "http://d/in");
        assert_eq!(url(&[(BASE, "http://c:4318"), (WHOLE, " ")]), "http://c:4318/v1/traces");
    }

    #[test]
    fn without_an_address_or_when_it_is_switched_off_there_are_no_spans() {
        for env in [
            &[][..],
            &[(BASE, "")],
            &[("OTEL_SERVICE_NAME", "bridge")],
            &[(BASE, "http://c"), ("OTEL_SDK_DISABLED", "TRUE")],
            &[(BASE, "http://c"), ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(env).expect("fit").is_none(), "{env:?}");
        }
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let env = [
            (BASE, "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key = hunter2%3D, Authorization=Basic%20aHVudGVyMg=="),
        ];
        let settings = read(&env).expect("fit").expect("on");
        assert_eq!(settings.headers["x-key"], "hunter2=");
        assert_eq!(settings.headers["authorization"], "Basic aHVudGVyMg==");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    }

    #[test]
    fn the_service_has_a_name() {
        let named = |env: &[(&str, &str)]| {
            let all: Vec<_> = [(BASE, "http://c")].iter().chain(env).copied().collect();
            let resource = read(&all).expect("fit").expect("on").resource;
            resource.into_iter().filter(|(key, _)| key != "service.version").collect::<Vec<_>>()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(named(&[]), [pair("service.name", "dari")]);
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=bridge,deployment.environment.name=a%20b");
        let environment = pair("deployment.environment.name", "a b");
        assert_eq!(named(&[attributes]), [pair("service.name", "bridge"), environment.clone()]);
        assert_eq!(named(&[attributes, ("OTEL_SERVICE_NAME", "own")]), [pair("service.name", "own"), environment]);
    }

    #[test]
    fn what_is_unfit_is_named_and_not_shown() {
        let unfit = |name, value| read(&[(BASE, "http://c"), (name, value)]).expect_err(name).to_string();
        let all = [
            unfit(WHOLE, "collector:4318"),
            unfit(WHOLE, "hunter2"),
            unfit("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            unfit("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
            unfit("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: it is to be an address like http://localhost:4318
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: it is to be an address like http://localhost:4318
        OTEL_EXPORTER_OTLP_HEADERS: it is to be key=value, with commas between several
        OTEL_EXPORTER_OTLP_HEADERS: a name or value is one that no header can have
        OTEL_BSP_SCHEDULE_DELAY: it is to be a whole number
        ");
    }
}
