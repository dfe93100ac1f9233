//! How accounts and sinks stand, a line each.

use super::super::output;
use crate::admin::views::{AccountView, SinkView};
use crate::store::Suspension;

/// The head of `dari accounts`.
pub(super) const ACCOUNTS: [&str; 7] = ["account", "connector", "month", "calls", "at this pace", "permits", "state"];

/// A line of `dari accounts`.
pub(super) fn account(a: AccountView) -> [String; 7] {
    let calls = a.monthly.map_or_else(|| a.used.to_string(), |monthly| format!("{} of {monthly}", a.used));
    let permits = a.permits.map(|permits| {
        let waiting = if permits.waiting > 0 { format!(", {} wait", permits.waiting) } else { String::new() };
        format!("{} of {}{waiting}", permits.in_use, permits.limit)
    });
    let state = state(true, a.suspension.as_ref());
    [a.name, a.connector, a.month, calls, a.forecast.unwrap_or_default(), permits.unwrap_or_default(), state]
}

/// The head of `dari sinks`.
pub(super) const SINKS: [&str; 5] = ["sink", "kind", "account", "queued", "state"];

/// A line of `dari sinks`.
pub(super) fn sink(s: SinkView) -> [String; 5] {
    let state = match (s.suspension.as_ref(), s.breaker.filter(|_| s.enabled)) {
        (None, Some(breaker)) => {
            format!("fails since {}, tried again {}", output::time(breaker.since), output::time(breaker.next))
        }
        (suspension, _) => state(s.enabled, suspension),
    };
    [s.name, s.kind, s.account, s.queued.to_string(), state]
}

/// Whether something runs, and if not, why and until when.
pub(super) fn state(enabled: bool, suspension: Option<&Suspension>) -> String {
    match suspension {
        _ if !enabled => "switched off".to_owned(),
        None => "ok".to_owned(),
        Some(s) => {
            let since = output::time(s.since);
            let until = match (s.until, s.probe) {
                (Some(at), _) => format!(" until {}", output::time(at)),
                (None, Some(at)) => format!(" since {since}, tried again {}", output::time(at)),
                (None, None) => format!(" since {since}"),
            };
            format!("{} suspended{until}: {}", s.scope.name(), s.why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::views::{BreakerView, PermitsView};
    use crate::outcome::Scope;
    use jiff::Timestamp;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn suspended(scope: Scope, until: Option<&str>, probe: Option<&str>) -> Suspension {
        Suspension {
            scope,
            name: "daou".into(),
            why: "code 901: client id".into(),
            since: at("2026-11-10T03:00:00Z"),
            until: until.map(at),
            probe: probe.map(at),
        }
    }

    /// Lines as a table; times are in the machine's zone, and so not shown.
    fn lines<const N: usize>(rows: Vec<[String; N]>) -> String {
        let lines: Vec<String> = rows.into_iter().map(|row| row.join(" | ")).collect();
        let zone = |text: &str| output::time(at(text));
        lines
            .join("\n")
            .replace(&zone("2026-11-10T03:00:00Z"), "SINCE")
            .replace(&zone("2026-11-30T15:00:00Z"), "UNTIL")
            .replace(&zone("2026-11-10T04:00:00Z"), "NEXT")
    }

    #[test]
    fn accounts_tell_quota_forecast_permits_and_state() {
        let view = AccountView {
            name: "daou".into(),
            connector: "works".into(),
            url: String::new(),
            month: "2026-11".into(),
            used: 827,
            monthly: Some(1500),
            used_up: None,
            forecast: Some("used up on the 19th".into()),
            rate: None,
            concurrency: None,
            permits: Some(PermitsView { in_use: 3, waiting: 2, limit: 8 }),
            suspension: None,
        };
        let of =
            |suspension| AccountView { suspension: Some(suspension), forecast: None, permits: None, ..view.clone() };
        let rows = vec![
            account(view.clone()),
            account(of(suspended(Scope::Account, Some("2026-11-30T15:00:00Z"), None))),
            account(of(suspended(Scope::Account, None, Some("2026-11-10T04:00:00Z")))),
            account(of(suspended(Scope::Account, None, None))),
        ];
        insta::assert_snapshot!(lines(rows), @"
        daou | works | 2026-11 | 827 of 1500 | used up on the 19th | 3 of 8, 2 wait | ok
        daou | works | 2026-11 | 827 of 1500 |  |  | account suspended until UNTIL: code 901: client id
        daou | works | 2026-11 | 827 of 1500 |  |  | account suspended since SINCE, tried again NEXT: code 901: client id
        daou | works | 2026-11 | 827 of 1500 |  |  | account suspended since SINCE: code 901: client id
        ");
    }

    #[test]
    fn sinks_tell_their_breaker_unless_they_are_suspended() {
        let breaker = BreakerView { since: at("2026-11-10T03:00:00Z"), next: at("2026-11-10T04:00:00Z") };
        let view = SinkView {
            name: "crm".into(),
            kind: "works".into(),
            account: "daou".into(),
            enabled: true,
            queued: 7,
            breaker: Some(breaker),
            suspension: None,
        };
        let suspension = Some(suspended(Scope::Sink, None, None));
        let rows = vec![
            sink(view.clone()),
            sink(SinkView { suspension, ..view.clone() }),
            sink(SinkView { breaker: None, ..view.clone() }),
            sink(SinkView { enabled: false, ..view }),
        ];
        insta::assert_snapshot!(lines(rows), @"
        crm | works | daou | 7 | fails since SINCE, tried again NEXT
        crm | works | daou | 7 | sink suspended since SINCE: code 901: client id
        crm | works | daou | 7 | ok
        crm | works | daou | 7 | switched off
        ");
    }
}
