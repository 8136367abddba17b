//! A request as it arrives: bounded, whole, and unambiguous, or refused.

use super::response::Refusal;

/// The longest request line, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// The longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// The most fields of a head.
const FIELDS_MAX: usize = 64;
/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 4 << 10;

/// A whole request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// As it was written.
    pub method: String,
    /// Without the part behind a question mark.
    pub path: String,
    /// Whom the client thinks it talks to.
    pub host: String,
    /// The page that asks, if one does.
    pub origin: Option<String>,
    /// How near that page is, as a browser says.
    pub site: Option<String>,
    /// What proves that it may give orders.
    pub token: Option<String>,
    /// What came behind the head.
    pub body: Vec<u8>,
}

/// Reads a request from the bytes that have arrived; none while some of it is missing.
///
/// # Errors
/// It will never be one that is taken.
pub fn read(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    if bytes.iter().take(LINE_BYTES_MAX).all(|byte| *byte != b'\n') && bytes.len() > LINE_BYTES_MAX {
        return Err(Refusal::LINE_TOO_LONG);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HEAD_TOO_LARGE),
        Err(_) => return Err(Refusal::MALFORMED),
    };
    let text = |name: &str| only(head.headers, name);
    if text("transfer-encoding")?.is_some() {
        return Err(Refusal::MALFORMED);
    }
    let host = text("host")?.ok_or(Refusal::MALFORMED)?;
    let body = match text("content-length")?.map(|digits| body_bytes(&digits)) {
        None => 0,
        Some(length) => length?,
    };
    let Some(body) = bytes.get(length..length + body) else { return Ok(None) };
    let target = head.path.unwrap_or_default();
    Ok(Some(Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        host,
        origin: text("origin")?,
        site: text("sec-fetch-site")?,
        token: text("x-brownout-token")?,
        body: body.to_vec(),
    }))
}

/// The only field of this name, if there is one: two of them are two opinions.
fn only(fields: &[httparse::Header<'_>], name: &str) -> Result<Option<String>, Refusal> {
    let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let Some(field) = found.next() else { return Ok(None) };
    let text = std::str::from_utf8(field.value).map_err(|_| Refusal::MALFORMED)?;
    if found.next().is_some() { Err(Refusal::MALFORMED) } else { Ok(Some(text.trim().to_owned())) }
}

fn body_bytes(digits: &str) -> Result<usize, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::MALFORMED);
    }
    digits.parse().ok().filter(|length| *length <= BODY_BYTES_MAX).ok_or(Refusal::BODY_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        read(text.as_bytes()).expect_err("refused").status
    }

    #[test]
    fn a_request_is_taken_once_all_of_it_is_there() {
        let text = b"POST /power-cut?x=1 HTTP/1.1\r\nHost: a:1\r\nOrigin: http://a:1\r\nX-Brownout-Token: t\r\nContent-Length: 2\r\n\r\n{}";
        for length in 0..text.len() {
            assert_eq!(read(&text[..length]), Ok(None), "{length}");
        }
        let request = read(text).expect("legal").expect("whole");
        assert_eq!(
            (request.method.as_str(), request.path.as_str(), request.host.as_str()),
            ("POST", "/power-cut", "a:1")
        );
        assert_eq!((request.origin.as_deref(), request.token.as_deref()), (Some("http://a:1"), Some("t")));
        assert_eq!(request.body, b"{}");
    }

    #[test]
    fn what_is_too_long_is_refused_before_all_of_it_is_there() {
        let line = format!("GET /{}", "a".repeat(LINE_BYTES_MAX));
        assert_eq!(refused(&line), 414);
        let head = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(refused(&head), 431);
        let fields = format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(refused(&fields), 431);
        let body = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        assert_eq!(refused(&body), 413);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for more in [
            "",
            "Host: a\r\nHost: b\r\n",
            "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\n",
            "Host: a\r\nContent-Length: +1\r\n",
            "Host: a\r\nContent-Length: \r\n",
            "Host : a\r\n",
            "Host: \u{e9}\u{7f}\r\n",
        ] {
            assert_eq!(refused(&format!("POST / HTTP/1.1\r\n{more}\r\n")), 400, "{more:?}");
        }
        for line in ["GET / HTTP/9.9", "GET", "\0", "\u{16}\u{3}\u{1}"] {
            assert_eq!(refused(&format!("{line}\r\n\r\n")), 400, "{line:?}");
        }
    }
}
