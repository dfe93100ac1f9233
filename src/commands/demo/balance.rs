//! What was made, and whether all of it arrived, and only once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Everything that visitors made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Responses by id.
    pub responses: BTreeMap<String, Response>,
    /// The numbers of the orders.
    pub orders: BTreeSet<String>,
    /// How many of the orders are not the demo's own.
    pub yours: usize,
}

/// A response to the form.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Whether it goes to Works.
    pub agreed: bool,
    /// What was asked: at first, and after each change. No two texts of a response are the same.
    pub asked: Vec<String>,
}

/// What the sandboxes hold.
#[derive(Clone, Debug)]
pub struct States {
    /// Works.
    pub works: Value,
    /// Slack.
    pub slack: Value,
    /// The ERP.
    pub erp: Value,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What has not arrived.
    pub missing: Vec<String>,
    /// What arrived twice, or should not have.
    pub wrong: Vec<String>,
    /// How many records, announcements and calls there should be.
    pub expected: usize,
}

impl Balance {
    /// Compares.
    pub fn of(made: &Made, states: &States) -> Self {
        let mut balance = Self::default();
        for (id, response) in &made.responses {
            balance.works(id, response, &states.works);
            balance.slack(id, response, &states.slack);
        }
        for order in &made.orders {
            balance.erp(order, &states.erp);
        }
        balance
    }

    fn works(&mut self, id: &str, response: &Response, works: &Value) {
        let records: Vec<_> = items(&works["records"]).filter(|record| record["id"] == id).collect();
        self.count(&format!("{id} in Works"), usize::from(response.agreed), records.len());
        let newest = response.asked.last();
        if records.iter().any(|record| record["문의"].as_str() != newest.map(String::as_str)) {
            self.missing.push(format!("the last change of {id} in Works"));
        }
    }

    fn slack(&mut self, id: &str, response: &Response, slack: &Value) {
        let mark = format!("({id})");
        let with = |answer: bool, text: &str| {
            items(&slack["messages"])
                .filter(|message| message["thread_ts"].is_null() != answer)
                .filter_map(|message| message["text"].as_str())
                .filter(|said| said.contains(&mark) && said.contains(text))
                .count()
        };
        self.count(&format!("the announcement of {id} in Slack"), 1, with(false, ""));
        for text in response.asked.iter().skip(1) {
            self.count(&format!("the change of {id} in Slack ({text})"), 1, with(true, text));
        }
    }

    fn erp(&mut self, order: &str, erp: &Value) {
        let received = erp["received"].as_object();
        let calls = received.into_iter().flat_map(|all| all.values()).filter(|call| call["body"]["order"] == order);
        let times: u64 = calls.filter_map(|call| call["times"].as_u64()).sum();
        self.count(&format!("order {order} in the ERP"), 1, usize::try_from(times).unwrap_or(usize::MAX));
    }

    fn count(&mut self, what: &str, expected: usize, found: usize) {
        self.expected += expected;
        if found < expected {
            self.missing.push(what.to_owned());
        } else if found > expected {
            self.wrong.push(format!("{what}: {found} times, expected {expected}"));
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: usize = self.responses.values().map(|response| response.asked.len() - 1).sum();
        let (responses, orders) = (self.responses.len(), self.orders.len() - self.yours);
        write!(f, "made: {responses} responses, {changes} changes of them, {orders} orders")?;
        if self.yours > 0 { write!(f, ", and {} of yours", self.yours) } else { Ok(()) }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in &self.missing {
            writeln!(f, "missing: {what}")?;
        }
        for what in &self.wrong {
            writeln!(f, "wrong: {what}")?;
        }
        let (missing, wrong) = (self.missing.len(), self.wrong.len());
        match (missing, wrong) {
            (0, 0) => write!(f, "{} expected at Works, Slack and the ERP: nothing lost, nothing twice", self.expected),
            _ => write!(f, "{} expected at Works, Slack and the ERP: {missing} missing, {wrong} wrong", self.expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made() -> Made {
        let response = |agreed, asked: &[&str]| Response { agreed, asked: asked.iter().map(|t| (*t).into()).collect() };
        Made {
            responses: [("r-1".into(), response(true, &["a", "b"])), ("r-2".into(), response(false, &["a"]))].into(),
            orders: ["A-1".into()].into(),
            yours: 0,
        }
    }

    fn arrived() -> States {
        States {
            works: json!({ "records": [{ "id": "r-1", "문의": "b" }] }),
            slack: json!({ "messages": [
                { "text": "new (r-1)", "thread_ts": null },
                { "text": "new (r-2)", "thread_ts": null },
                { "text": "b (r-1)", "thread_ts": "1.1" },
            ] }),
            erp: json!({ "received": { "msg_1": { "times": 1, "body": { "order": "A-1" } } } }),
        }
    }

    #[test]
    fn what_arrived_once_is_balanced() {
        let balance = Balance::of(&made(), &arrived());
        insta::assert_snapshot!(balance, @"5 expected at Works, Slack and the ERP: nothing lost, nothing twice");
    }

    #[test]
    fn what_is_missing_twice_or_old_is_told() {
        let mut states = arrived();
        states.works = json!({ "records": [{ "id": "r-1", "문의": "a" }, { "id": "r-2", "문의": "a" }] });
        states.slack["messages"] = json!([
            { "text": "new (r-1)", "thread_ts": null },
            { "text": "new (r-1)", "thread_ts": null },
        ]);
        states.erp["received"]["msg_1"]["times"] = json!(2);
        insta::assert_snapshot!(Balance::of(&made(), &states), @r"
        missing: the last change of r-1 in Works
        missing: the change of r-1 in Slack (b)
        missing: the announcement of r-2 in Slack
        wrong: the announcement of r-1 in Slack: 2 times, expected 1
        wrong: r-2 in Works: 1 times, expected 0
        wrong: order A-1 in the ERP: 2 times, expected 1
        5 expected at Works, Slack and the ERP: 3 missing, 3 wrong
        ");
    }
}
