//! Where a sink's calls may go: below its URL, and nowhere else.

use url::Url;

use crate::connectors::call::HIDDEN;

/// In place of the config's own path in what people see.
const OWN_PATH: &str = "/…";

/// A sink's URL.
#[derive(Clone)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Takes a URL as the config has it.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "this is no URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("expected a URL with http or https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user and password do not belong into the URL: put them under `auth: { basic: … }`");
        }
        if url.fragment().is_some() {
            return Err("a URL with a `#` part leads nowhere else than without it: leave it out");
        }
        Ok(Self { url })
    }

    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL of a path (with or without a query) below it. `path` is percent-encoded already.
    ///
    /// # Errors
    /// Why the path would leave the URL, or could be read in two ways.
    pub fn join(&self, path: &str) -> Result<Url, String> {
        let refuse = |why: &str| Err(format!("the request's path {path:?} {why}"));
        let (path_part, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        // What `url` would silently drop (tabs, line breaks) or read as a slash (a backslash).
        if path.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '#')) {
            return refuse("has a character that must be percent-encoded");
        }
        let below = path_part.strip_prefix('/').unwrap_or(path_part);
        let segments: Vec<&str> = if below.is_empty() { Vec::new() } else { below.split('/').collect() };
        if segments.iter().any(|segment| is_dots(segment)) {
            return refuse("leaves the sink's URL");
        }
        // One empty segment at the end is a trailing slash; elsewhere it is a value that came out empty.
        if segments.iter().rev().skip(1).any(|segment| segment.is_empty()) || path.starts_with("//") {
            return refuse("has an empty segment");
        }
        let mut url = self.url.clone();
        if !segments.is_empty() {
            let base = self.url.path().trim_end_matches('/');
            url.set_path(&format!("{base}/{below}"));
        }
        if let Some(query) = query {
            let all = self.url.query().map_or_else(|| query.to_owned(), |own| format!("{own}&{query}"));
            url.set_query(Some(&all));
        }
        if self.contains(&url) { Ok(url) } else { refuse("leaves the sink's URL") }
    }

    /// The URL as people may see it: the host, and what a request put below the config's own path and query, which may
    /// hold a secret.
    pub fn shown(&self, url: &Url) -> String {
        let (own_path, own_query) = (self.url.path().trim_end_matches('/'), self.url.query().unwrap_or_default());
        let mut shown = url.origin().ascii_serialization();
        if !own_path.is_empty() {
            shown.push_str(OWN_PATH);
        }
        shown.push_str(url.path().strip_prefix(own_path).unwrap_or_default());
        let Some(query) = url.query() else { return shown };
        match query.strip_prefix(own_query).filter(|_| !own_query.is_empty()) {
            Some(added) => shown.extend(["?", HIDDEN, added]),
            None => shown.extend(["?", query]),
        }
        shown
    }

    fn contains(&self, url: &Url) -> bool {
        let base = self.url.path().trim_end_matches('/');
        let below = url.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        url.origin() == self.url.origin() && url.username().is_empty() && url.password().is_none() && below
    }
}

/// True for `.` and `..` in any notation that a URL parser takes for one.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(url: &str) -> Target {
        Target::new(url).unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    #[test]
    fn paths_go_below_the_url() {
        let erp = target("https://erp.acme.kr:8443/api/");
        let join = |path: &str| erp.join(path).map(String::from);
        assert_eq!(join("/repos/7/pushes").as_deref(), Ok("https://erp.acme.kr:8443/api/repos/7/pushes"));
        assert_eq!(join("repos?since=1%262").as_deref(), Ok("https://erp.acme.kr:8443/api/repos?since=1%262"));
        assert_eq!(join("/a/").as_deref(), Ok("https://erp.acme.kr:8443/api/a/"));
        assert_eq!(join("").as_deref(), Ok("https://erp.acme.kr:8443/api/"));
        assert_eq!(join("/a%2F..%2Fb").as_deref(), Ok("https://erp.acme.kr:8443/api/a%2F..%2Fb"));
    }

    #[test]
    fn paths_that_leave_the_url_are_refused() {
        let erp = target("https://erp.acme.kr/api");
        for path in
            ["/../admin", "/a/%2E%2e/b", "..", "/.", "//evil.kr/x", "/a//b", "/a\\..\\b", "/a#b", "/a\n/b", "/ "]
        {
            assert!(erp.join(path).is_err(), "{path:?} went to {:?}", erp.join(path));
        }
        let told = erp.join("/../admin").expect_err("leaves");
        insta::assert_snapshot!(told, @r#"the request's path "/../admin" leaves the sink's URL"#);
    }

    #[test]
    fn a_query_of_the_config_stays_and_is_not_shown() {
        let hook = target("https://erp.acme.kr/in?key=hunter2");
        let url = hook.join("/x?n=1").expect("below");
        assert_eq!(url.as_str(), "https://erp.acme.kr/in/x?key=hunter2&n=1");
        assert_eq!(hook.shown(&url), "https://erp.acme.kr/…/x?***&n=1");
        assert_eq!(hook.shown(hook.url()), "https://erp.acme.kr/…?***");
    }

    #[test]
    fn a_path_of_the_config_is_not_shown() {
        for (own, path, shown) in [
            ("https://chat.acme.kr/hooks/hunter2", "", "https://chat.acme.kr/…"),
            ("https://chat.acme.kr/hooks/hunter2/", "/a?b=1", "https://chat.acme.kr/…/a?b=1"),
            ("https://erp.acme.kr:8443", "/a?b=1", "https://erp.acme.kr:8443/a?b=1"),
            ("https://erp.acme.kr/", "", "https://erp.acme.kr/"),
        ] {
            let target = target(own);
            assert_eq!(target.shown(&target.join(path).expect("below")), shown, "{own} {path}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_showing_it() {
        for url in ["https://u:hunter2@erp.acme.kr", "ftp://erp.acme.kr", "erp.acme.kr", "https://erp.acme.kr/#x"] {
            let why = Target::new(url).err().expect("refused");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_path_changes_host_port_or_base(path in "\\PC{0,40}|[./%2eE\\\\?#:@\t\n a-z]{0,20}|//[a-z.]{1,8}/.*") {
            let erp = target("https://erp.acme.kr:8443/api/v1");
            if let Ok(url) = erp.join(&path) {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert_eq!(url.host_str(), Some("erp.acme.kr"));
                prop_assert_eq!(url.port(), Some(8443));
                prop_assert!(url.username().is_empty());
                prop_assert!(url.path() == "/api/v1" || url.path().starts_with("/api/v1/"), "{}", url);
            }
        }
    }
}
