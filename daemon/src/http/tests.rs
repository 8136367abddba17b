//! The web socket of a whole device, in this process: what it tells and does, and what attackers get, over real sockets. Each test ends
//! with the device in good order.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use super::address::Listener;
use super::route::Rights;
use super::server::{CONNECTIONS_MAX, Server};
use crate::control::exchange::{PeerCommand, ServerEnds, ToPeers};
use crate::testing::Running;
use crate::watch::Watch;
use crate::wiring::{Files, Places};

const TOKEN: &str = "0123456789abcdef";

/// A device with a web socket at a port.
struct Web {
    running: Running,
    at: SocketAddr,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(mut stream: impl Read) -> Self {
        let mut text = String::new();
        // The end may be a reset, where not all was taken that was sent.
        let _ = stream.read_to_string(&mut text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Web {
    fn start() -> Self {
        let listener = Listener::at_port("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let at = listener.port().expect("told").expect("a port");
        let files = Files { http: Some(listener), rights: Rights { token: TOKEN.to_owned() }, ..Files::default() };
        let running = Running::with_files("size=16MiB,lba=4096", files, |folder| Places {
            sockets: vec![folder.join("nvme.sock")],
            ..Places::default()
        });
        Self { running, at }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        stream
    }

    /// Sends this, as it is.
    fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        // Whoever is refused in the middle may not take the rest.
        let _ = stream.write_all(request.as_bytes());
        Answer::read(stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.at))
    }

    fn post(&self, path: &str, more: &str) -> Answer {
        self.send(&format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", self.at))
    }

    fn order(&self, path: &str, words: &str) -> Answer {
        self.post(path, &format!("X-Brownout-Token: {TOKEN}\r\nContent-Length: {}\r\n\r\n{words}", words.len()))
    }

    /// It tells, obeys, and ends as it should.
    fn end_in_order(mut self) {
        let metrics = self.get("/metrics");
        assert!(metrics.status == 200 && metrics.body.contains("\nbrownout_power_on 1\n"), "{metrics:?}");
        assert_eq!(self.order("/power-cut", "").status, 200);
        assert_eq!(self.order("/power-restore", "").status, 200);
        self.running.stop().expect("an orderly end");
    }
}

#[test]
fn figures_follow_what_is_ordered() {
    let web = Web::start();
    let metrics = web.get("/metrics?collect=all");
    assert_eq!(metrics.status, 200);
    for line in ["brownout_power_on 1", "brownout_cache_staged_units 0", "brownout_lines{state=\"open\"} "] {
        assert!(metrics.body.contains(line), "{line}: {}", metrics.body);
    }
    assert!(metrics.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", metrics.head);
    let cut = web.order("/power-cut", r#"{"policy":"random","seed":7}"#);
    assert_eq!((cut.status, cut.body.starts_with('{')), (200, true), "{cut:?}");
    assert!(web.get("/metrics").body.contains("\nbrownout_power_on 0\n"));
    let twice = web.order("/power-cut", "");
    assert!(twice.status == 409 && twice.body.contains("power is off already"), "{twice:?}");
    let wrong = web.order("/power-restore", r#"{"policy":"x"}"#);
    assert!(wrong.status == 409 && wrong.body.contains("policy"), "{wrong:?}");
    assert_eq!(web.order("/power-restore", "").status, 200);
    let state: Value = serde_json::from_str(&web.get("/state").body).expect("JSON");
    assert_eq!(state["query-status"]["running"], true);
    let events: Vec<_> = state["events"].as_array().expect("a list").iter().map(|it| it["event"].clone()).collect();
    assert!(events.contains(&"POWER_CUT".into()) && events[0] == "POWER_RESTORED", "{events:?}");
    let field = state["query-lines"]["states"].as_str().expect("letters").len();
    assert_eq!(
        field as u64,
        state["query-lines"]["total"].as_u64().expect("a number"),
        "a small drive has a cell for each"
    );
    web.end_in_order();
}

#[test]
fn attackers_get_refusals_and_nothing_happens() {
    let web = Web::start();
    let token = format!("X-Brownout-Token: {TOKEN}\r\n");
    let orders = [
        ("no token", String::new()),
        ("a wrong token", format!("X-Brownout-Token: {}\r\n", "0".repeat(TOKEN.len()))),
        ("a beginning of the token", format!("X-Brownout-Token: {}\r\n", &TOKEN[..8])),
        ("another page", format!("{token}Origin: http://evil.example\r\n")),
        ("a page of nowhere", format!("{token}Origin: null\r\n")),
        ("a page of another port", format!("{token}Origin: http://127.0.0.1:1\r\n")),
        ("another site", format!("{token}Sec-Fetch-Site: cross-site\r\n")),
    ];
    for (what, fields) in orders {
        let answer = web.post("/power-cut", &fields);
        assert!(answer.status == 403 && !answer.head.contains("Access-Control"), "{what}: {answer:?}");
    }
    let preflight =
        web.send(&format!("OPTIONS /power-cut HTTP/1.1\r\nHost: {}\r\nOrigin: http://a.example\r\n\r\n", web.at));
    assert!(preflight.status == 403 && !preflight.head.contains("Access-Control"), "{preflight:?}");
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
        let answer = web.send(&format!("GET /state HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 403, "{host}");
    }
    for path in ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/.git/config", "/proc/self/environ", "//"] {
        let answer = web.get(path);
        assert!(answer.status == 404 && !answer.body.contains("root:"), "{path}: {answer:?}");
    }
    let large = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", web.at, "a".repeat(1 << 20));
    assert_eq!(web.send(&large).status, 431);
    assert_eq!(web.get(&format!("/{}", "a".repeat(1 << 16))).status, 414);
    assert_eq!(web.post("/power-cut", &format!("{token}Content-Length: 99999999999999999999\r\n")).status, 413);
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "{\"execute\":\"power-cut\"}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        assert_eq!(web.send(garbage).status, 400, "{garbage:?}");
    }
    let metrics = web.get("/metrics").body;
    assert!(
        metrics.contains("\nbrownout_power_on 1\n") && metrics.contains("\nbrownout_unsafe_shutdowns_total 0\n"),
        "{metrics}"
    );
    web.end_in_order();
}

#[test]
fn a_thousand_connections_that_say_nothing_keep_nobody_out() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many descriptors as we may have");
    let web = Web::start();
    let mut silent: Vec<TcpStream> = (0..1000).map(|_| web.connect()).collect();
    // Half of a request each, from half of them.
    for stream in silent.iter_mut().step_by(2) {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
    }
    assert_eq!(web.get("/metrics").status, 200);
    let ours = std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
    assert!(ours < silent.len() + CONNECTIONS_MAX + 100, "{ours} descriptors: no more are held than there may be");
    web.end_in_order();
    drop(silent);
}

#[test]
fn clients_that_ask_and_go_or_do_not_listen_are_survived() {
    let web = Web::start();
    let request = format!("GET /state HTTP/1.1\r\nHost: {}\r\n\r\n", web.at);
    let mut deaf = Vec::new();
    for number in 0..200 {
        let mut stream = web.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        if number % 2 == 0 {
            deaf.push(stream);
        }
    }
    web.end_in_order();
}

/// A device that is slow to answer keeps its clients, and whoever comes behind them waits for a place.
#[test]
fn whoever_comes_while_the_device_works_for_all_is_served_after_them() {
    let listener = Listener::at_port("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let at = listener.port().expect("told").expect("a port");
    let watch = Watch::new().expect("descriptors");
    let wake = watch.waker();
    let ((command, commands), (to_peers, to_hear)) = (channel(), channel());
    let ends = ServerEnds { watch, commands: command, wake_device: Box::new(|| ()), to_hear };
    let server = Server::new(listener, Rights { token: TOKEN.to_owned() }, ends);
    let serving = std::thread::spawn(move || server.run());
    let order =
        format!("POST /power-cut HTTP/1.1\r\nHost: {at}\r\nX-Brownout-Token: {TOKEN}\r\nContent-Length: 0\r\n\r\n");
    let ask = || {
        let mut stream = TcpStream::connect(at).expect("somebody listens");
        stream.write_all(order.as_bytes()).expect("sent");
        stream
    };
    let next = || commands.recv_timeout(Duration::from_secs(60)).expect("an order");
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| ask()).collect();
    let mut orders: Vec<_> = clients.iter().map(|_| next()).collect();
    let mut last = ask();
    last.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
    let early = last.read(&mut [0; 1]).expect_err("neither an answer nor an end");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    let answer = |order: PeerCommand| {
        to_peers.send(ToPeers::Answer { peer: order.peer, id: order.id, result: Ok(Value::Null) }).expect("heard");
        wake();
    };
    orders.drain(..).for_each(answer);
    answer(next());
    clients.push(last);
    for stream in clients {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        assert_eq!(Answer::read(stream).status, 200);
    }
    drop(to_peers);
    wake();
    serving.join().expect("an orderly end");
}

#[test]
fn a_web_socket_at_a_path_is_for_its_owner() {
    let files = Files { rights: Rights { token: TOKEN.to_owned() }, ..Files::default() };
    let mut running = Running::with_files("size=16MiB,lba=4096", files, |folder| Places {
        sockets: vec![folder.join("nvme.sock")],
        http: Some(folder.join("http.sock")),
        ..Places::default()
    });
    let path = running.path("http.sock");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("somebody listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert_eq!(Answer::read(stream).status, 200);
    running.stop().expect("an orderly end");
    assert!(!path.exists(), "it is removed");
}
