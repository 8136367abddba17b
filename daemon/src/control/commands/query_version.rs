//! `query-version`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Refusal, Tell};
use crate::control::message;

/// The version of this program, in the form that clients of QMP expect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryVersion {}

impl Tell for QueryVersion {
    const NAME: &'static str = "query-version";
    type Answer = Value;

    fn tell(self) -> Result<Value, Refusal> {
        Ok(message::version())
    }
}
