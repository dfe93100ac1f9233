//! Filters in the vendor's words: a field and its value, `FIELD_Mod` for how they compare, `FIELD_Range` for the other end.

use serde_json::{Map, Value};

use super::door::{Parameters, plain};
use crate::settings::{Field, Kind, Need};

/// The key that says which kind of object a sink or a poller is for; [`object`] reads it.
pub(super) const OBJECT: Field = Field {
    name: "object",
    kind: Kind::Text,
    need: Need::Required,
    doc: "The kind of object, as `task`, `proj` or `optask` (an issue).",
};

/// How a field may compare. Source: the page's table (eq to between), its example of `OR` (cicontains), and its reports'.
const MODIFIERS: [&str; 21] = [
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "isnull",
    "notnull",
    "isblank",
    "notblank",
    "contains",
    "notcontains",
    "cicontains",
    "cinotcontains",
    "cieq",
    "cine",
    "between",
    "notbetween",
    "in",
    "notin",
    "startswith",
];

/// Parameters that are no filters.
const OTHERS: [&str; 9] = ["fields", "method", "updates", "map", "action", "filters", "apiKey", "sessionID", "force"];

/// What the vendor reads as credentials, whatever else it is. Source: "filter parameters": they go into `filters` instead.
const CREDENTIALS: [&str; 2] = ["username", "password"];

/// How many levels a field may lie below an object.
const DEPTH: usize = 4;

/// The filters of rendered values: of a route's `match`, of a lookup. Null: that there is no value.
///
/// # Errors
/// What cannot be asked for, naming the field.
pub(super) fn filters(wanted: &Map<String, Value>) -> Result<Parameters, String> {
    let (mut parameters, mut apart) = (Vec::new(), Map::new());
    for (name, value) in wanted {
        check(name, value)?;
        let text = plain(value);
        if text.starts_with("$$") {
            // A value of an event's that begins so would ask for something else than it says.
            return Err(format!("{name}: a value that begins with $$ stands for something else at Workfront"));
        }
        match value {
            _ if CREDENTIALS.contains(&name.as_str()) => _ = apart.insert(name.clone(), value.clone()),
            Value::Null if wanted.contains_key(&format!("{name}_Mod")) => {}
            Value::Null => parameters.push((format!("{name}_Mod"), "isnull".to_owned())),
            _ => parameters.push((name.clone(), text)),
        }
    }
    if !apart.is_empty() {
        parameters.push(("filters".to_owned(), super::door::json(&Value::Object(apart))));
    }
    Ok(parameters)
}

/// The filters that a person wrote into a config, wildcards (`$$USER.ID`, `$$TODAY-7d`) and all.
///
/// # Errors
/// What is no filter, naming the key.
pub(super) fn written(wanted: &[(&str, &str)]) -> Result<Parameters, String> {
    let pair = |(name, text): &(&str, &str)| {
        check(name, &Value::from(*text)).map(|()| ((*name).to_owned(), (*text).to_owned()))
    };
    wanted.iter().map(pair).collect()
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    if name.is_empty() || name.starts_with("$$") || OTHERS.contains(&name) || name.ends_with("_Sort") {
        return Err(format!("{name}: this is no field to look for"));
    }
    if matches!(value, Value::Array(_) | Value::Object(_)) {
        return Err(format!("{name}: expected text, a number, true or false, or null"));
    }
    match (name.strip_suffix("_Mod"), value.as_str()) {
        (Some(_), Some(word)) if MODIFIERS.contains(&word) => Ok(()),
        (Some(_), _) => Err(format!("{name}: expected one of {}", MODIFIERS.join(", "))),
        (None, _) => Ok(()),
    }
}

/// The parameter `fields`, with those that are always needed.
///
/// # Errors
/// A field that is none, or that lies too deep.
pub(super) fn fields(wanted: &[&str], needed: &[&str]) -> Result<String, String> {
    let mut all: Vec<&str> = needed.to_vec();
    for field in wanted {
        let path = field.strip_prefix("DE:").unwrap_or(field);
        if field.is_empty() || field.contains(',') {
            return Err(format!("{field:?} is no field; expected its name, as `status` or `owner:name`"));
        }
        if path.split(':').count() > DEPTH {
            return Err(format!("{field}: a field lies at most {DEPTH} levels below its object"));
        }
        if !all.contains(field) {
            all.push(field);
        }
    }
    Ok(all.join(","))
}

/// The code of a kind of object, as the vendor takes it in a path.
///
/// # Errors
/// What was expected.
pub(super) fn object(code: &str) -> Result<String, String> {
    if code.is_empty() || !code.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("{code:?} is no kind of object; expected its code, as `task`, `proj` or `optask`"));
    }
    Ok(code.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(wanted: &Value) -> Result<Parameters, String> {
        filters(wanted.as_object().unwrap())
    }

    #[test]
    fn filters_are_the_vendors() {
        let asked =
            of(&json!({ "name": "a", "name_Mod": "contains", "DE:번호": 7, "parentID": null, "username": "a@b" }))
                .unwrap();
        let pairs: Vec<_> = asked.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            pairs,
            ["name=a", "name_Mod=contains", "DE:번호=7", "parentID_Mod=isnull", r#"filters={"username":"a@b"}"#]
        );
        for wrong in [
            json!({ "name_Mod": "like" }),
            json!({ "$$LIMIT": 5000 }),
            json!({ "apiKey": "x" }),
            json!({ "ownerID": "$$USER.ID" }),
            json!({ "tags": ["a"] }),
        ] {
            assert!(of(&wrong).is_err(), "{wrong}");
        }
        assert!(written(&[("ownerID", "$$USER.ID"), ("OR:1:name", "a"), ("entryDate_Range", "$$TODAY")]).is_ok());
        assert!(written(&[("lastUpdateDate_Sort", "desc")]).is_err());
    }

    #[test]
    fn fields_lie_four_levels_deep_at_most() {
        assert_eq!(fields(&["name", "DE:A", "owner:title"], &["ID", "name"]).unwrap(), "ID,name,DE:A,owner:title");
        assert!(
            fields(&["a:b:c:d"], &[]).is_ok() && fields(&["a:b:c:d:e"], &[]).is_err() && fields(&["a,b"], &[]).is_err()
        );
        assert_eq!(object("OPTASK").unwrap(), "optask");
        assert!(object("../user").is_err() && object("").is_err());
    }
}
