//! `log`: the plugin's log. Needs no platform; the invocation gathers it.

use purlin_domain::{
    Json,
    log::{LogLevel, escape_control},
};

use super::Host;
use crate::{
    bindings::purlin::platform::log as wit,
    state::{State, json, len},
};

impl<H: Host> wit::Host for State<H> {
    fn write(&mut self, level: wit::Level, message: String, fields: Option<String>) -> wasmtime::Result<()> {
        self.count_call(message.len() + len(fields.as_ref()))?;
        let level = match level {
            wit::Level::Debug => LogLevel::Debug,
            wit::Level::Info => LogLevel::Info,
            wit::Level::Warn => LogLevel::Warn,
            wit::Level::Error => LogLevel::Error,
        };
        // Fields that are not JSON are kept as the text they are.
        let fields = fields
            .map_or(Json::Null, |text| json("/fields", &text).unwrap_or_else(|_| Json::String(escape_control(&text))));
        self.log.write(level, &message, fields);
        Ok(())
    }
}
