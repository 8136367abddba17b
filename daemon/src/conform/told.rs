//! What a case needs of the two sides: a guest that is told what to do, and a drive that is told what goes wrong.

use serde_json::Value;

use crate::ctl::client::Client;

/// A guest, or whoever stands in for one.
pub trait Guest {
    /// Everything on its console so far.
    fn console(&self) -> String;

    /// Waits until it can be told something; at once where nobody can. `go_on` is asked meanwhile.
    ///
    /// # Errors
    /// It does not come up ([`super::console::Silence`]), the machine broke, or the run was told to end.
    fn come_up(&mut self, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<()>;

    /// Gives an order and waits until it is carried out; whether it was.
    ///
    /// # Errors
    /// The guest said nothing in time ([`super::console::Silence`]), the machine broke, or the run was told to end.
    fn order(&mut self, order: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool>;

    /// Waits until a line of its console matches, or so long.
    fn until(&mut self, seconds: u64, matches: &mut dyn FnMut(&str) -> bool, go_on: &mut dyn FnMut() -> bool);
}

/// A drive, by its control socket or without one.
pub trait Orders {
    /// Executes a command; what comes back.
    ///
    /// # Errors
    /// Why it was not done.
    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value>;
}

impl Orders for Client {
    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        Self::execute(self, command, arguments)
    }
}
