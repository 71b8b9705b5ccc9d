//! Compiling: in a child process, so that a component made to exhaust the compiler takes
//! nothing of the host with it.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use purlin_domain::limits::COMPONENT_BYTES_MAX;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{engine, error::RuntimeError};

/// Wall-clock time of one compilation.
const WALL: Duration = Duration::from_secs(120);
/// Bytes of an artifact at most.
const ARTIFACT_BYTES_MAX: u64 = 512 << 20;
/// Bytes of what the compiler complains.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// The program that compiles: reads a component from stdin, writes the artifact to stdout.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Compiler {
    pub(crate) async fn run(&self, component: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| RuntimeError::Failed(format!("{}: {error}", self.program.display())))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(RuntimeError::failed("the compiler has no pipes"));
        };
        let (mut artifact, mut complaint) = (Vec::new(), String::new());
        let mut stdout = stdout.take(ARTIFACT_BYTES_MAX);
        let mut stderr = stderr.take(COMPLAINT_BYTES_MAX);
        let talk = async {
            let feed = async {
                // A compiler that refuses may close its end early; its exit status tells.
                let fed = stdin.write_all(component).await;
                drop(stdin);
                drop(fed);
            };
            let (_, read, told) =
                tokio::join!(feed, stdout.read_to_end(&mut artifact), stderr.read_to_string(&mut complaint));
            read.and(told)?;
            child.wait().await
        };
        let status = match tokio::time::timeout(WALL, talk).await {
            Ok(done) => done.map_err(RuntimeError::failed)?,
            Err(_) => {
                return Err(RuntimeError::refused(
                    "compile_limit",
                    format!("compiling took longer than {} s", WALL.as_secs()),
                ));
            }
        };
        match status.code() {
            Some(0) => Ok(artifact),
            Some(_) => Err(RuntimeError::refused("component", complaint.trim())),
            None => Err(RuntimeError::refused("compile_limit", "compiling met the limit on CPU time or memory")),
        }
    }
}

/// The child's side: compile stdin to stdout. The caller has set its limits.
pub fn compile_stdin_to_stdout() -> Result<(), RuntimeError> {
    let mut component = Vec::new();
    let limit = COMPONENT_BYTES_MAX as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut component).map_err(RuntimeError::failed)?;
    std::io::stdout().lock().write_all(&compile(&component)?).map_err(RuntimeError::failed)
}

/// Compile a component here and now, or say what is wrong with it.
pub fn compile(component: &[u8]) -> Result<Vec<u8>, RuntimeError> {
    engine::build(1)?
        .precompile_component(component)
        .map_err(|error| RuntimeError::refused("component", format!("{error:#}")))
}
