//! Paths of sockets.

use std::path::Path;

use super::error::OptionError;

/// The longest path that a socket's address holds, with the zero byte that ends it.
const SOCKET_PATH_BYTES: usize = 107;

/// A socket's address holds so much and no more.
///
/// # Errors
/// The option, its value and what would do.
pub fn check_socket(option: &str, path: &Path) -> Result<(), OptionError> {
    let length = path.as_os_str().len();
    if length == 0 || length > SOCKET_PATH_BYTES {
        let remedy = format!("give a path of 1 to {SOCKET_PATH_BYTES} bytes: a socket's address holds no more");
        return Err(OptionError::new(option, path.display().to_string(), remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_a_socket_is_a_wrong_option() {
        assert_eq!(check_socket("--socket", Path::new("/run/disk.sock")), Ok(()));
        let error = check_socket("--socket", Path::new(&"x".repeat(108))).expect_err("too long").to_string();
        assert!(error.ends_with("x: give a path of 1 to 107 bytes: a socket's address holds no more"), "{error}");
    }
}
