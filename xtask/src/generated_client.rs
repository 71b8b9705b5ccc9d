//! `cargo xtask client`: a program that knows the API only through a client generated from
//! its OpenAPI document, run against a host.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{client::Client, fuzz::python_tool, host::Host, private, shell, test};

const GENERATOR: &str = "openapi-python-client==0.29.1";
/// What the generator cannot make, and says so: a component as a body; an export, a stream of
/// events and a report as answers.
const UNSUPPORTED: usize = 4;

/// Generate, then run; the host is built already.
pub fn run() -> Result<()> {
    shell::step("running a program over a generated client");
    let Some(programs) = python_tool("openapi-python-client", GENERATOR) else {
        println!("NOT TESTED: no client was generated; it takes python3 with venv and pip, and PyPI");
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "a client must be generated in CI");
        return Ok(());
    };
    let directory = std::env::temp_dir().join(format!("purlin-client-{}", private::random()?));
    let environment = [("PURLIN_AUTH_REQUESTS_PER_MINUTE", "1000000".to_owned())];
    let host = Host::start(&test::host(), &directory, &environment)?;
    let document: Value = Client::new(&host.address).get("/openapi.json")?.expect(200)?;
    let file = directory.join("openapi.json");
    fs::write(&file, document.to_string())?;
    let mut generate = Command::new(programs.join("openapi-python-client"));
    generate.args(["generate", "--meta", "none", "--overwrite", "--path"]).arg(&file);
    generate.arg("--output-path").arg(directory.join("purlin_client"));
    let path = std::env::var("PATH").unwrap_or_default();
    generate.env("PATH", format!("{}:{path}", programs.display()));
    let output = generate.output()?;
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && told.matches("WARNING").count() <= UNSUPPORTED, "{told}");
    let script = std::path::absolute("tests/client/pages.py")?;
    let mut program = Command::new(programs.join("python"));
    program.arg(script).arg(format!("http://{}", host.address)).env("PYTHONPATH", &directory);
    shell::run(&mut program)?;
    host.stop()?;
    drop(fs::remove_dir_all(&directory));
    Ok(())
}
