//! What no plugin should do.

use std::hint::black_box;

use purlin_sdk::{Failure, Value, access, json, log};

pub fn spin() -> ! {
    loop {
        black_box(0);
    }
}

pub fn grow() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

pub fn flood() -> ! {
    loop {
        black_box(access::check("probe.notes", "read"));
    }
}

#[allow(unconditional_recursion, reason = "to run out of stack")]
pub fn recurse(n: u64) -> u64 {
    black_box(n) + recurse(black_box(n - 1))
}

/// More log than there is room for, with control characters in it.
pub fn shout() -> Result<Option<Value>, Failure> {
    for n in 0..900 {
        log::info(format!("{n} {}\r\nforged line\u{1b}[31m", "x".repeat(500)));
    }
    println!("through stdout");
    eprintln!("through stderr");
    Ok(None)
}

/// Sleep far beyond the wall clock, without using CPU.
pub fn wait() -> Result<Option<Value>, Failure> {
    std::thread::sleep(std::time::Duration::from_secs(600));
    Ok(None)
}

/// One call that carries more than a call may.
pub fn huge() -> Result<Option<Value>, Failure> {
    log::info("x".repeat(8 << 20));
    Ok(None)
}

/// The file system and the environment, by way of WASI.
pub fn escape() -> Result<Option<Value>, Failure> {
    Ok(Some(json!({
        "read": std::fs::read_to_string("/etc/passwd").is_ok(),
        "write": std::fs::write("/tmp/probe", "x").is_ok(),
        "environment": std::env::vars().count(),
        "arguments": std::env::args().count(),
    })))
}
