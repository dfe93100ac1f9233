//! How the next page is asked for: by a link of the same origin, a number, or a token.

use http::HeaderMap;
use http::header::LINK;
use url::Url;

use super::place::{Next, Place, at_link, own_pairs};
use super::records::text;
use crate::connectors::Answer;
use crate::connectors::http::endpoint::{SEEN, template};
use crate::connectors::http::target::Target;
use crate::settings::{Fault, Field, Kind, Need, Node, Settings};
use crate::template::{Context, Template};

/// A sensible bound for sizes of pages.
const LARGE: i64 = 100_000;

pub const FIELDS: &[Field] = &[
    Field {
        name: "link",
        kind: Kind::Object(&[]),
        need: Need::Optional,
        doc: "By the header `Link: <…>; rel=\"next\"`, which must lead to the same origin.",
    },
    Field {
        name: "next",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "By a URL in the answer, over `status`, `headers` and `body`, at the same origin: `{{ body.links.next }}`.",
    },
    Field { name: "page", kind: Kind::Object(PAGE), need: Need::Optional, doc: "By the number of the page." },
    Field {
        name: "offset",
        kind: Kind::Object(OFFSET),
        need: Need::Optional,
        doc: "By the number of the record that the page begins with.",
    },
    Field {
        name: "token",
        kind: Kind::Object(TOKEN),
        need: Need::Optional,
        doc: "By what the answer calls the next page.",
    },
];

const PAGE: &[Field] = &[
    Field { name: "param", kind: Kind::Text, need: Need::Default("page"), doc: "The parameter with the number." },
    Field {
        name: "first",
        kind: Kind::Integer { min: 0, max: 1 },
        need: Need::Default("1"),
        doc: "The number of the first page.",
    },
    Field {
        name: "size",
        kind: Kind::Integer { min: 1, max: LARGE },
        need: Need::Optional,
        doc: "How many records a page has: one with fewer is the last. Without it the last one is empty.",
    },
    Field {
        name: "size_param",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The parameter that the size is sent in, if it is.",
    },
];

const OFFSET: &[Field] = &[
    Field { name: "param", kind: Kind::Text, need: Need::Default("offset"), doc: "The parameter with the number." },
    Field {
        name: "size",
        kind: Kind::Integer { min: 1, max: LARGE },
        need: Need::Required,
        doc: "How many records a page has: one with fewer is the last.",
    },
    Field {
        name: "size_param",
        kind: Kind::Text,
        need: Need::Default("limit"),
        doc: "The parameter that the size is sent in.",
    },
];

const TOKEN: &[Field] = &[
    Field {
        name: "value",
        kind: Kind::Template,
        need: Need::Required,
        doc: "The next page's token, over `status`, `headers` and `body`: `{{ body.next_page_token | default(omit) }}`. Nothing, or empty text: it was the last.",
    },
    Field { name: "param", kind: Kind::Text, need: Need::Required, doc: "The parameter that it is sent in." },
];

/// How the next page is asked for.
pub enum Paging {
    Link,
    Next(Template),
    Number(Number),
    Token { value: Template, param: String },
}

/// By number.
pub struct Number {
    param: String,
    first: u64,
    /// By how much the number grows; `None`: one, or the size of a page.
    step: u64,
    size: Option<u64>,
    size_param: Option<String>,
}

impl Paging {
    /// Reads the `paging` key; `None` if something is wrong, which is among the faults then.
    pub fn new(node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let (key, inner) = node.entries().first()?;
        match key.name.as_str() {
            "link" => Some(Self::Link),
            "next" => template(Settings::new(node, FIELDS), "next", SEEN, faults).map(Self::Next),
            "token" => {
                let settings = Settings::new(inner, TOKEN);
                let value = template(settings, "value", SEEN, faults)?;
                Some(Self::Token { value, param: settings.text("param")?.to_owned() })
            }
            word => {
                let settings = Settings::new(inner, if word == "page" { PAGE } else { OFFSET });
                let size = settings.integer("size").and_then(|size| u64::try_from(size).ok());
                let first = if word == "page" { settings.integer("first")? } else { 0 };
                Some(Self::Number(Number {
                    param: settings.text("param")?.to_owned(),
                    first: u64::try_from(first).ok()?,
                    step: if word == "page" { 1 } else { size? },
                    size,
                    size_param: settings.text("size_param").map(str::to_owned),
                }))
            }
        }
    }

    /// What the page after this one is asked for with; `None`: it was the last.
    ///
    /// # Errors
    /// What the answer says does not lead to a page of this API.
    pub fn next(
        &self,
        at: &Url,
        place: &Place,
        answer: &Answer,
        seen: &Context,
        count: usize,
    ) -> Result<Option<Next>, String> {
        match self {
            Self::Link => link(&answer.headers).map(|link| same_origin(at, &link)).transpose(),
            Self::Next(next) => {
                let link = text("paging.next", next, seen)?.filter(|link| !link.is_empty());
                link.map(|link| same_origin(at, &link)).transpose()
            }
            Self::Token { value, .. } => {
                let token = text("paging.token.value", value, seen)?.filter(|token| !token.is_empty());
                Ok(token.map(Next::Token))
            }
            Self::Number(number) => {
                let count = count as u64;
                let is_last = number.size.map_or(count == 0, |size| count < size);
                let now = match place.next {
                    Some(Next::Number(now)) => now,
                    _ => number.first,
                };
                Ok((!is_last).then(|| Next::Number(now.saturating_add(number.step))))
            }
        }
    }
}

/// The request for a place in the list.
pub fn url(
    target: &Target,
    query: &[(String, String)],
    paging: Option<&Paging>,
    place: &Place,
    since: Option<(&String, &str)>,
) -> Url {
    let mut url = target.url().clone();
    if let Some(Next::Link(link)) = &place.next {
        let own = own_pairs(target.url(), query);
        url = at_link(&url, link);
        let has: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        add(&mut url, own.into_iter().filter(|(name, _)| !has.contains(name)));
        return url;
    }
    add(&mut url, query.iter().cloned());
    add(&mut url, since.map(|(param, value)| (param.clone(), value.to_owned())));
    match (paging, &place.next) {
        (Some(Paging::Number(number)), next) => {
            let now = if let Some(Next::Number(now)) = next { *now } else { number.first };
            add(&mut url, [(number.param.clone(), now.to_string())]);
            add(&mut url, number.size_param.clone().zip(number.size.map(|size| size.to_string())));
        }
        (Some(Paging::Token { param, .. }), Some(Next::Token(token))) => {
            add(&mut url, [(param.clone(), token.clone())]);
        }
        _ => {}
    }
    url
}

/// Adds parameters; nothing leaves the URL as it was.
fn add(url: &mut Url, pairs: impl IntoIterator<Item = (String, String)>) {
    let pairs: Vec<_> = pairs.into_iter().collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
}

/// A link is followed only where the credentials belong.
fn same_origin(at: &Url, link: &str) -> Result<Next, String> {
    let to = at.join(link).map_err(|_| "the link to the next page is no URL".to_owned())?;
    if to.origin() != at.origin() || !to.username().is_empty() || to.password().is_some() {
        let (there, here) = (to.origin().ascii_serialization(), at.origin().ascii_serialization());
        return Err(format!(
            "the next page is at {there}, and not at {here}: it is not asked for, since credentials would go there"
        ));
    }
    Ok(Next::Link(to[url::Position::BeforePath..url::Position::AfterQuery].to_owned()))
}

/// The target of `rel="next"` (RFC 8288).
fn link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_of)
}

fn next_of(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // Its parameters end where the next link begins.
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let github = r#"<https://a.kr/i?page=1>; rel="prev", <https://a.kr/i?page=3>; rel="next", <https://a.kr/i?page=9>; rel="last""#;
        assert_eq!(next_of(github).as_deref(), Some("https://a.kr/i?page=3"));
        assert_eq!(next_of("</i?a=1,2;3>; title=x; rel=next").as_deref(), Some("/i?a=1,2;3"));
        assert_eq!(next_of(r#"</i>; rel="first next""#).as_deref(), Some("/i"));
        assert_eq!(next_of(r#"</i>; rel="nextish", </j>; title="rel=next""#), None);
        assert_eq!(next_of("rel=next"), None);
    }

    #[test]
    fn a_link_elsewhere_is_not_followed() {
        let at = Url::parse("https://erp.acme.kr/api/orders?page=1").expect("a URL");
        let to = |link: &str| same_origin(&at, link);
        assert_eq!(to("?page=2"), Ok(Next::Link("/api/orders?page=2".into())));
        assert_eq!(to("https://erp.acme.kr/api/orders?page=2#x"), Ok(Next::Link("/api/orders?page=2".into())));
        let slashes = to("https://erp.acme.kr//evil.kr/x").expect("the same origin");
        assert_eq!(slashes, Next::Link("//evil.kr/x".into()));
        assert_eq!(at_link(&at, "//evil.kr/x").as_str(), "https://erp.acme.kr//evil.kr/x");
        for elsewhere in [
            "https://evil.kr/",
            "//evil.kr/x",
            "http://erp.acme.kr/",
            "https://erp.acme.kr:8443/",
            "https://u@erp.acme.kr/",
        ] {
            assert!(to(elsewhere).is_err(), "{elsewhere}");
        }
        insta::assert_snapshot!(
            to("https://evil.kr/x?key=hunter2").expect_err("elsewhere"),
            @"the next page is at https://evil.kr, and not at https://erp.acme.kr: it is not asked for, since credentials would go there"
        );
    }

    #[test]
    fn what_the_config_adds_is_not_kept_with_the_place() {
        let target = Target::new("https://erp.acme.kr/api/orders?key=hunter2").expect("a URL");
        let query = vec![("status".to_owned(), "open".to_owned())];
        let next = Next::Link("/api/orders?key=hunter2&status=open&page=2".into()).without(&target, &query);
        assert_eq!(next, Next::Link("/api/orders?page=2".into()));
        let place = Place::begin(crate::connectors::pollers::keys::Start::All).on(next);
        let asked = url(&target, &query, Some(&Paging::Link), &place, None);
        assert_eq!(asked.as_str(), "https://erp.acme.kr/api/orders?page=2&key=hunter2&status=open");
    }

    proptest! {
        #[test]
        fn no_link_leads_to_another_origin(link in "\\PC{0,40}|(https?:)?//[a-z@:.0-9/]{0,20}|https://erp.acme.kr:8443/[a-z/.\\\\]{0,20}") {
            let at = Url::parse("https://erp.acme.kr:8443/api/orders").expect("a URL");
            if let Ok(Next::Link(path)) = same_origin(&at, &link) {
                prop_assert_eq!(at_link(&at, &path).origin(), at.origin(), "{} {}", link, path);
            }
        }

        #[test]
        fn any_header_can_be_read(header in "\\PC{0,60}|[<>;,=\" relnxt]{0,40}") {
            next_of(&header);
        }
    }
}
