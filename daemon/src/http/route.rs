//! What a request may have. There are these paths and no others; nothing of a path ever becomes one of a file.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use super::request::Request;
use super::response::Refusal;
use crate::html::STYLE;

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// What does not change while the program runs: its kind and its text.
    Fixed(&'static str, &'static str),
    /// Figures for Prometheus.
    Metrics,
    /// Figures for the page.
    State,
    /// A command of the control socket.
    Order(&'static str, Map<String, Value>),
}

/// What can be had by GET and never changes.
const FIXED: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("live.html")),
    ("/live.js", "text/javascript; charset=utf-8", include_str!("live.js")),
    ("/style.css", "text/css; charset=utf-8", STYLE),
];
/// Orders that can be given, by path and by command.
const ORDERS: [(&str, &str); 2] = [("/power-cut", "power-cut"), ("/power-restore", "power-restore")];

/// Who may have what.
#[derive(Clone, Debug)]
pub struct Rights {
    /// What whoever gives orders must know.
    pub token: String,
}

impl Default for Rights {
    fn default() -> Self {
        Self::new()
    }
}

impl Rights {
    /// With a token that nobody can guess.
    pub fn new() -> Self {
        Self { token: uuid::Uuid::new_v4().simple().to_string() }
    }

    /// What a request comes to.
    ///
    /// # Errors
    /// It may not have it, or there is no such thing.
    pub fn route(&self, request: &Request) -> Result<Route, Refusal> {
        if !is_of_this_machine(&request.host) {
            return Err(Refusal::OTHER_NAME);
        }
        let own = format!("http://{}", request.host);
        let other_page = request.origin.as_ref().is_some_and(|origin| !origin.eq_ignore_ascii_case(&own));
        let other_site = request.site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none"));
        if other_page || other_site {
            return Err(Refusal::OTHER_PAGE);
        }
        let path = request.path.as_str();
        let found = match path {
            "/metrics" => Some(Route::Metrics),
            "/state" => Some(Route::State),
            _ => FIXED.iter().find(|(at, ..)| *at == path).map(|(_, kind, text)| Route::Fixed(kind, text)),
        };
        let order = ORDERS.iter().find(|(at, _)| *at == path);
        match (found, order, request.method.as_str()) {
            (Some(route), _, "GET") => Ok(route),
            (None, Some((_, command)), "POST") => self.order(request, command),
            (None, None, _) => Err(Refusal::NOT_FOUND),
            _ => Err(Refusal::OTHER_METHOD),
        }
    }

    fn order(&self, request: &Request, command: &'static str) -> Result<Route, Refusal> {
        let given = request.token.as_deref().unwrap_or_default();
        if !are_equal(given.as_bytes(), self.token.as_bytes()) {
            return Err(Refusal::NO_TOKEN);
        }
        let words = if request.body.is_empty() { Ok(Map::new()) } else { serde_json::from_slice(&request.body) };
        Ok(Route::Order(command, words.map_err(|_| Refusal::MALFORMED)?))
    }
}

/// Whether a client that names this host means us. A name that others may let point here is not ours, or any page could read what we say
/// (DNS rebinding); an address is what it is.
fn is_of_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
        || host.parse::<SocketAddr>().is_ok()
        || bare.is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// Compares in a time that does not tell how much of it is right.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            host: "127.0.0.1:9".to_owned(),
            ..Request::default()
        }
    }

    fn refused(change: impl FnOnce(&mut Request)) -> u16 {
        let mut request = Request { token: Some("secret".to_owned()), ..request("POST", "/power-cut") };
        change(&mut request);
        rights().route(&request).map_or_else(|refusal| refusal.status, |_| 200)
    }

    fn rights() -> Rights {
        Rights { token: "secret".to_owned() }
    }

    #[test]
    fn an_order_needs_its_token_its_own_page_and_our_address() {
        assert_eq!(refused(|_| ()), 200);
        assert_eq!(refused(|it| it.origin = Some("http://127.0.0.1:9".to_owned())), 200);
        for token in [None, Some(""), Some("secre"), Some("secret "), Some("Secret")] {
            assert_eq!(refused(|it| it.token = token.map(str::to_owned)), 403, "{token:?}");
        }
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8", "https://127.0.0.1:9", ""] {
            assert_eq!(refused(|it| it.origin = Some(origin.to_owned())), 403, "{origin}");
        }
        for site in ["cross-site", "same-site", "new-word"] {
            assert_eq!(refused(|it| it.site = Some(site.to_owned())), 403, "{site}");
        }
        assert_eq!(refused(|it| it.body = b"[]".to_vec()), 400);
        for method in ["GET", "OPTIONS", "PUT", "post"] {
            assert_eq!(refused(|it| it.method = method.to_owned()), 405, "{method}");
        }
    }

    #[test]
    fn names_of_others_are_refused_for_figures_too() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "10.0.0.1:9", "[::1]", "[::1]:9"] {
            let request = Request { host: host.to_owned(), ..request("GET", "/metrics") };
            assert_eq!(rights().route(&request), Ok(Route::Metrics), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost:x",
            "::1",
            "[::1",
            "1",
        ] {
            let request = Request { host: host.to_owned(), ..request("GET", "/metrics") };
            assert_eq!(rights().route(&request), Err(Refusal::OTHER_NAME), "{host}");
        }
    }

    #[test]
    fn there_are_these_paths_and_no_others() {
        for path in [
            "/../etc/passwd",
            "/metrics/..",
            "/%2e%2e/",
            "//metrics",
            "/metrics/",
            "/Metrics",
            "",
            "*",
            "http://127.0.0.1/metrics",
        ] {
            assert_eq!(rights().route(&request("GET", path)), Err(Refusal::NOT_FOUND), "{path}");
        }
        assert_eq!(rights().route(&request("POST", "/metrics")), Err(Refusal::OTHER_METHOD));
        assert_eq!(rights().route(&request("POST", "/namespace-write")), Err(Refusal::NOT_FOUND));
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let [one, other] = [Rights::new().token, Rights::new().token];
        assert!(one.len() == 32 && one != other);
    }
}
