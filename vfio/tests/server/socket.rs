//! The socket's path: what is there before, what stays behind.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;

use vfio::{Server, ServerConfig};

fn bind(path: &std::path::Path) -> std::io::Result<Server> {
    Server::bind(path, &ServerConfig::default())
}

#[test]
fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_live_one_is_not() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("cntrl");
    drop(UnixListener::bind(&path).expect("a server that dies without tidying up"));
    assert!(path.exists());
    let server = bind(&path).expect("the path of the dead");
    let error = bind(&path).expect_err("the path of the living");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another server listens"), "{error}");
    drop(server);
    assert!(!path.exists(), "it tidied up");
    bind(&path).expect("again");
}

#[test]
fn paths_that_cannot_be_are_named_in_the_error() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").expect("file");
    let error = bind(&file).expect_err("not a socket");
    assert!(error.to_string().contains("is not a socket"), "{error}");
    assert_eq!(std::fs::read(&file).expect("still there"), b"precious");
    let error = bind(&directory.path().join("x".repeat(120))).expect_err("too long");
    assert!(error.to_string().contains("at most 107 bytes"), "{error}");
    let error = bind(&directory.path().join("missing/cntrl")).expect_err("no directory");
    assert!(error.to_string().contains("missing/cntrl"), "{error}");
    let many = ServerConfig { vectors: 257, ..ServerConfig::default() };
    let error = Server::bind(directory.path().join("cntrl"), &many).expect_err("too many");
    assert!(error.to_string().contains("at most 256"), "{error}");
}

/// A server that lost its path to another must not remove the other's socket.
#[test]
fn only_its_own_socket_is_removed() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("cntrl");
    let first = bind(&path).expect("bind");
    std::fs::remove_file(&path).expect("somebody removes it");
    let second = bind(&path).expect("and binds there");
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn a_server_moves_between_threads() {
    const fn movable<T: Send>() {}
    movable::<Server>();
}
