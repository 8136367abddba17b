//! What a client gets.

/// Everything comes from here, and nothing of it is for other pages, for frames, or for later.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// An answer that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As HTTP has it.
    pub status: u16,
    words: &'static str,
    why: &'static str,
}

impl Refusal {
    const fn new(status: u16, words: &'static str, why: &'static str) -> Self {
        Self { status, words, why }
    }

    pub const MALFORMED: Self = Self::new(400, "Bad Request", "this is no request that can be read in one way only");
    pub const OTHER_NAME: Self = Self::new(
        403,
        "Forbidden",
        "give an address of this machine or localhost: names of others lead here by mistake or by malice",
    );
    pub const OTHER_PAGE: Self = Self::new(403, "Forbidden", "pages of others may not ask");
    pub const NO_TOKEN: Self =
        Self::new(403, "Forbidden", "an order needs the token that was printed at start, as X-Brownout-Token");
    pub const NOT_FOUND: Self = Self::new(404, "Not Found", "there are /, /metrics and /state");
    pub const OTHER_METHOD: Self =
        Self::new(405, "Method Not Allowed", "figures are asked for by GET, orders are given by POST");
    pub const SLOW: Self = Self::new(408, "Request Timeout", "the request did not come in time");
    pub const BODY_TOO_LARGE: Self = Self::new(413, "Content Too Large", "an order has a few words");
    pub const LINE_TOO_LONG: Self = Self::new(414, "URI Too Long", "no path here is that long");
    pub const HEAD_TOO_LARGE: Self = Self::new(431, "Request Header Fields Too Large", "the head is too large");
    pub const DEVICE_BUSY: Self = Self::new(503, "Service Unavailable", "the device does not answer now");

    /// As it is sent.
    pub fn bytes(self) -> Vec<u8> {
        response(self.status, self.words, "text/plain; charset=utf-8", format!("{}\n", self.why).as_bytes())
    }
}

/// A success, as it is sent.
pub fn ok(kind: &str, body: &[u8]) -> Vec<u8> {
    response(200, "OK", kind, body)
}

/// An order that the device did not carry out.
pub fn conflict(body: &[u8]) -> Vec<u8> {
    response(409, "Conflict", JSON, body)
}

/// The kind of JSON.
pub const JSON: &str = "application/json";

fn response(status: u16, words: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} {words}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: {POLICY}\r\nCross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
