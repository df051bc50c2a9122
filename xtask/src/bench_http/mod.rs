//! What a hit of 1 KiB costs through `http-cache-proxy`, beside nginx and beside the same kind
//! of proxy with `http-cache-tower`: one core each, in interleaved blocks.

mod client;
mod nginx;
mod origin;
mod subject;
mod wrk;

use std::path::{Path, PathBuf};
use std::process::Command;

use testbed::Folder;
use testbed::locate::{self, Need};

use self::nginx::Sends;
use self::origin::Origin;
use self::subject::Subject;
use self::wrk::Asked;
use crate::command::{runtime, step, target};
use crate::servers;

/// The core of what is measured, and that of the load.
const CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// Rounds of one block of each subject, and seconds of a block.
const ROUNDS: usize = 20;
const SECONDS: u32 = 1;

/// URLs that are asked for in turn: as many as nginx may have files open for.
const URLS: usize = 10_000;

/// Entries whose memory is measured.
const ENTRIES: usize = 100_000;

pub(crate) fn run(yes: bool) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("the CPU time of a process is read from Linux's /proc".to_owned());
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err("the load needs a core of its own, and there is one only".to_owned());
    }
    servers::provide(&[Need::Nginx, Need::Wrk], yes)?;
    // Both at once: by itself, each would have its dependencies built with other features.
    let packages = ["--package", "http-cache-proxy", "--package", "http-cache-tower-proxy"];
    step(&[&["build", "--release"], &packages[..]].concat())?;
    runtime()?.block_on(measure())
}

/// In the order of the table; the first is there twice, for the ratio of a subject to itself.
const NAMES: [&str; 5] =
    ["nginx", "nginx again", "nginx, no sendfile", "http-cache-proxy", "http-cache-tower"];
const OURS: usize = 3;

async fn measure() -> Result<(), String> {
    let wrk = locate::wrk().map_err(|missing| missing.to_string())?;
    let origin = Origin::start().await?;
    let subjects = [
        Subject::nginx(&origin, Sends::File).await?,
        Subject::nginx(&origin, Sends::File).await?,
        Subject::nginx(&origin, Sends::Copy).await?,
        Subject::proxy(
            &built("http-cache-proxy"),
            &["--threads", "1", "--memory", "1024"],
            &origin,
        )
        .await?,
        Subject::proxy(&built("http-cache-tower-proxy"), &[], &origin).await?,
    ];
    let folder = Folder::new("bench-http").await.map_err(|error| error.to_string())?;

    let mut empty = Vec::new();
    for subject in &subjects {
        client::fill(subject.address(), 1).await?;
        empty.push(subject.resident()?);
    }
    println!(
        "\nHits of 1 KiB, each server on one core and wrk (32 connections) on the other: medians of\n\
         {ROUNDS} rounds of one block of {SECONDS} s each. CPU is the server's, user and system. Ratios: of\n\
         the blocks of one round."
    );
    rounds("one URL", &subjects, &wrk, folder.path(), &origin, Asked::One).await?;

    for subject in &subjects {
        client::fill(subject.address(), ENTRIES).await?;
    }
    let many = Asked::Many(URLS);
    rounds("10,000 URLs", &subjects, &wrk, folder.path(), &origin, many).await?;
    println!(
        "\nMemory (RSS), and what one of 100,000 entries of 1 KiB adds; nginx has their\ncontents in files, which are not counted:\n"
    );
    println!("{:20}{:>12}{:>14}{:>16}", "", "empty, MiB", "filled, MiB", "per entry, B");
    for ((name, subject), empty) in NAMES.iter().zip(&subjects).zip(empty) {
        let filled = subject.resident()?;
        let each = filled.saturating_sub(empty) / ENTRIES as u64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!("{name:20}{:>12.1}{:>14.1}{each:>16}", mib(empty), mib(filled));
    }
    for subject in subjects {
        subject.stop().await;
    }
    Ok(())
}

/// Of one block.
#[derive(Clone, Copy)]
struct Block {
    micros: f64,
    per_second: f64,
}

async fn rounds(
    what: &str,
    subjects: &[Subject; 5],
    wrk: &Path,
    folder: &Path,
    origin: &Origin,
    asked: Asked,
) -> Result<(), String> {
    let mut blocks: [Vec<Block>; 5] = Default::default();
    for round in 0..=ROUNDS {
        for at in 0..subjects.len() {
            // In either order, so that what drifts drifts for all.
            let at = if round % 2 == 0 { at } else { subjects.len() - 1 - at };
            let subject = &subjects[at];
            let (cpu, came) = (subject.cpu(), origin.asked());
            let load = wrk::load(wrk, folder, subject.address(), asked, SECONDS).await;
            let load =
                load.map_err(|error| format!("{}: {error}\n{}", NAMES[at], subject.errors()))?;
            let cpu = subject.cpu().saturating_sub(cpu);
            // The first finds everything cold.
            if round == 0 {
                continue;
            }
            if origin.asked() != came {
                return Err(format!("{} has asked its origin: these are no hits", NAMES[at]));
            }
            let micros = cpu.as_secs_f64() * 1e6 / load.requests as f64;
            blocks[at].push(Block { micros, per_second: load.per_second });
        }
    }
    println!(
        "\n{:20}{:>12}{:>14}{:>16}{:>18}",
        what, "CPU, us", "requests/s", "ours/it, CPU", "it/nginx, CPU"
    );
    for (at, name) in NAMES.iter().enumerate() {
        let of = |figure: fn(&Block) -> f64| median(blocks[at].iter().map(figure).collect());
        let ratio = |one: &[Block], two: &[Block]| {
            median(one.iter().zip(two).map(|(one, two)| one.micros / two.micros).collect())
        };
        let (cpu, rate) = (of(|block| block.micros), of(|block| block.per_second));
        let ours = ratio(&blocks[OURS], &blocks[at]);
        let nginx = ratio(&blocks[at], &blocks[0]);
        println!("{name:20}{cpu:>12.2}{rate:>14.0}{ours:>16.2}{nginx:>18.2}");
    }
    Ok(())
}

fn built(program: &str) -> PathBuf {
    target().join("release").join(program)
}

/// A command on one core only.
fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", core]).arg(program);
    command
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
