//! A process that follows revocations, and nothing else: `accredit-bench-follow ISSUER KEY-FILE
//! STATE-FOLDER`. It says that it begins, goes on until its standard input ends, and says how many
//! entries it has, and after how many milliseconds it knew what there was.
//!
//! A program of its own, because it has the system's allocator, as programs have that embed a Verifier
//! and choose none. The one of the server and the load generator, mimalloc, keeps what was freed for a
//! second, which is of use there and would be counted here.

#![expect(clippy::print_stdout, reason = "what it says is read by the bench")]

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Instant;

use accredit::Verifier;

/// The audience of the resource that everything is for.
const AUDIENCE: &str = "https://crm.bench.example";

#[expect(clippy::disallowed_methods, reason = "a measurement, and arguments of its own")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, key, state] = args.as_slice() else {
        eprintln!("usage: accredit-bench-follow ISSUER KEY-FILE STATE-FOLDER");
        return ExitCode::from(2);
    };
    println!("following");
    let begun = Instant::now();
    match follow(issuer, key, state, begun) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn follow(issuer: &str, key: &str, state: &str, begun: Instant) -> Result<String, String> {
    let key = std::fs::read_to_string(key).map_err(|error| error.to_string())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let builder = Verifier::builder(issuer, AUDIENCE).credential(&key).state_dir(state);
    let verifier = runtime.block_on(builder.connect()).map_err(|error| error.to_string())?;
    let connected = begun.elapsed().as_millis();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let entries = verifier.status().map_or(0, |status| status.entries);
    Ok(format!("{entries} {connected}"))
}
