//! The guest in Python, for its test: built where Python is.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{fuzz::python_tool, shell};

const COMPILER: &str = "componentize-py==0.25.1";
const SOURCE: &str = "tests/guests/python";

/// Build it among the other components, unless it is there and newer than what it is made of.
pub fn build(directory: &Path) -> Result<()> {
    let component = directory.join("snake.wasm");
    if is_newer(&component, &[PathBuf::from(SOURCE), PathBuf::from("wit")])? {
        return Ok(());
    }
    shell::step("building the guest in Python");
    let Some(programs) = python_tool("componentize-py", COMPILER) else {
        println!("NOT TESTED: there is no guest in Python; it takes python3 with venv and pip, and PyPI");
        return Ok(());
    };
    let mut compile = Command::new(programs.join("componentize-py"));
    compile.args(["--wit-path", "wit", "--world", "plugin", "componentize", "app", "--python-path", SOURCE]);
    shell::run(compile.arg("--output").arg(&component))
}

fn is_newer(component: &Path, sources: &[PathBuf]) -> Result<bool> {
    let Ok(made) = component.metadata().and_then(|metadata| metadata.modified()) else { return Ok(false) };
    for source in sources {
        for entry in std::fs::read_dir(source)? {
            if entry?.metadata()?.modified()? > made {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
