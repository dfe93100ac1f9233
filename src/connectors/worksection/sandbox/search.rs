//! The `filter` of `search_tasks`: `(name has 'Report' or name has 'Approval') and dateend>'25.05.2021'`.

use jiff::civil::Date;
use serde_json::Value;

use super::actions::date;

/// A filter that was read.
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Is { field: &'static str, values: Vec<String> },
    Has { text: String },
    Day { field: &'static str, operator: String, day: Date },
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

impl Filter {
    /// Reads one.
    pub(super) fn read(text: &str) -> Result<Self, ()> {
        let mut tokens = tokens(text)?;
        tokens.reverse();
        let filter = any(&mut tokens)?;
        if tokens.is_empty() { Ok(filter) } else { Err(()) }
    }

    /// True if a task fits.
    pub(super) fn fits(&self, task: &Value) -> bool {
        match self {
            Self::All(all) => all.iter().all(|filter| filter.fits(task)),
            Self::Any(all) => all.iter().any(|filter| filter.fits(task)),
            Self::Is { field, values } => {
                let known = match *field {
                    "project" => &task["project"]["id"],
                    field => &task[field],
                };
                values.iter().any(|value| known == value.as_str())
            }
            Self::Has { text } => task["name"].as_str().is_some_and(|name| name.contains(text.as_str())),
            Self::Day { field, operator, day } => {
                let known = task[*field].as_str().and_then(|text| text.get(..10)?.parse::<Date>().ok());
                known.is_some_and(|known| match operator.as_str() {
                    ">" => known > *day,
                    "<" => known < *day,
                    ">=" => known >= *day,
                    "<=" => known <= *day,
                    "!=" => known != *day,
                    _ => known == *day,
                })
            }
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ()> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').ok_or(())? + 2,
            '(' | ')' | ',' => 1,
            '<' | '>' | '=' | '!' => rest.find(|c| !"<>=!".contains(c)).unwrap_or(rest.len()),
            c if c.is_alphanumeric() => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
            _ => return Err(()),
        };
        let (token, more) = rest.split_at(length);
        tokens.push(match first {
            '\'' => Token::Text(token[1..length - 1].to_owned()),
            c if c.is_alphanumeric() => Token::Word(token.to_owned()),
            _ => Token::Sign(token.to_owned()),
        });
        rest = more.trim_start();
    }
    Ok(tokens)
}

fn takes(tokens: &mut Vec<Token>, wanted: &Token) -> bool {
    let is_it = tokens.last() == Some(wanted);
    if is_it {
        tokens.pop();
    }
    is_it
}

fn any(tokens: &mut Vec<Token>) -> Result<Filter, ()> {
    let mut parts = vec![all(tokens)?];
    while takes(tokens, &Token::Word("or".to_owned())) {
        parts.push(all(tokens)?);
    }
    Ok(Filter::Any(parts))
}

fn all(tokens: &mut Vec<Token>) -> Result<Filter, ()> {
    let mut parts = vec![one(tokens)?];
    while takes(tokens, &Token::Word("and".to_owned())) {
        parts.push(one(tokens)?);
    }
    Ok(Filter::All(parts))
}

fn one(tokens: &mut Vec<Token>) -> Result<Filter, ()> {
    let sign = |text: &str| Token::Sign(text.to_owned());
    if takes(tokens, &sign("(")) {
        let inner = any(tokens)?;
        return if takes(tokens, &sign(")")) { Ok(inner) } else { Err(()) };
    }
    let Some(Token::Word(field)) = tokens.pop() else { return Err(()) };
    let Some(Token::Word(operator) | Token::Sign(operator)) = tokens.pop() else { return Err(()) };
    let number = |token: Option<Token>| match token {
        Some(Token::Word(text)) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(text),
        _ => Err(()),
    };
    let field = match field.as_str() {
        "id" => "id",
        "project" => "project",
        "parent" => "parent",
        "name" => "name",
        "dateadd" => "date_added",
        "datestart" => "date_start",
        "dateend" => "date_end",
        "dateclose" => "date_closed",
        _ => return Err(()),
    };
    match (field, operator.as_str()) {
        ("id" | "project" | "parent", "=") => Ok(Filter::Is { field, values: vec![number(tokens.pop())?] }),
        ("id" | "project" | "parent", "in") => {
            if !takes(tokens, &sign("(")) {
                return Err(());
            }
            let mut values = vec![number(tokens.pop())?];
            while takes(tokens, &sign(",")) {
                values.push(number(tokens.pop())?);
            }
            if takes(tokens, &sign(")")) { Ok(Filter::Is { field, values }) } else { Err(()) }
        }
        ("name", "=" | "has") => match tokens.pop() {
            Some(Token::Text(text)) if operator == "has" => Ok(Filter::Has { text }),
            Some(Token::Text(text)) => Ok(Filter::Is { field, values: vec![text] }),
            _ => Err(()),
        },
        (_, ">" | "<" | ">=" | "<=" | "!=" | "=") if field.starts_with("date") => match tokens.pop() {
            Some(Token::Text(text)) => Ok(Filter::Day { field, operator, day: date(&text).ok_or(())? }),
            _ => Err(()),
        },
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pages_own_example_is_read() {
        let text = "(name has 'Report' or name has 'Approval') and (dateend>'25.05.2021' and dateend<'31.05.2021')";
        let filter = Filter::read(text).unwrap();
        let task = |name: &str, end: &str| json!({ "name": name, "date_end": end, "project": { "id": "26" } });
        assert!(filter.fits(&task("A Report", "2021-05-26")) && filter.fits(&task("Approval", "2021-05-30")));
        assert!(!filter.fits(&task("A Report", "2021-05-25")) && !filter.fits(&task("Other", "2021-05-26")));
        assert!(Filter::read("project=26 and id in (1, 2)").is_ok());
        for wrong in [
            "",
            "name has Report",
            "name > 'x'",
            "dateadd>'2021-05-25'",
            "project='26'",
            "(id=1",
            "id=1 AND id=2",
            "x=1",
        ] {
            assert!(Filter::read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_is_read_or_refused(text in "[a-z'()=<> 0-9.,]{0,60}") {
            let _ = Filter::read(&text);
        }
    }
}
