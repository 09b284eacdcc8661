//! Measures mosaik against the transport it stands on, in one run.
//!
//! Both ends of everything are in this process, on loopback, and share its processors; what
//! counts is therefore the ratio to the transport alone, which is measured right next to each
//! figure. BENCHMARKS.md says how to read the report.

mod groups;
mod measure;
mod nodes;
mod raw;
mod report;
mod streams;
mod suite;

use {
    core::time::Duration,
    report::{Line, Report},
    std::process::ExitCode,
    suite::Settings,
};

const USAGE: &str = "\
mosaik-bench [--only NAME]… [--seconds S] [--rounds N] [--json] [--list]

  --only NAME   measure figures whose name begins with NAME
  --seconds S   how long each figure is measured in a round (2)
  --rounds N    rounds; the report gives medians (3)
  --json        print the report as JSON
  --list        print the names of the figures
";

struct Arguments {
    only: Vec<String>,
    seconds: f64,
    rounds: usize,
    json: bool,
    list: bool,
}

fn arguments(given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        only: Vec::new(),
        seconds: 2.0,
        rounds: 3,
        json: false,
        list: false,
    };
    let mut given = given;
    while let Some(argument) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--only" => arguments.only.push(value()?),
            "--seconds" => {
                let seconds: f64 = value()?.parse().map_err(|_| "--seconds takes a number")?;
                if !(0.05..=600.0).contains(&seconds) {
                    return Err("--seconds is between 0.05 and 600".to_owned());
                }
                arguments.seconds = seconds;
            }
            "--rounds" => {
                arguments.rounds = value()?.parse().map_err(|_| "--rounds takes a number")?;
                if !(1..=1_000).contains(&arguments.rounds) {
                    return Err("--rounds is between 1 and 1000".to_owned());
                }
            }
            "--json" => arguments.json = true,
            "--list" => arguments.list = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(arguments)
}

/// Prints the memory of one thing; this process does nothing else, so that nothing else counts.
fn print_memory(what: &str) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    let measured = runtime.block_on(async {
        match what {
            "group-1000" | "group-1000-idle" | "group-memory" => Ok(groups::many_here(what).await),
            _ => nodes::memory_here(what).await,
        }
    });
    match measured {
        Ok(kib) => {
            println!("{kib}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// What a process does that is there to be killed.
fn lead(peer: &str) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    runtime.block_on(groups::lead_until_killed(peer));
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    match (given.next().as_deref(), given.next()) {
        (Some(nodes::CHILD), what) => return print_memory(&what.unwrap_or_default()),
        (Some(groups::LEADER), peer) => return lead(&peer.unwrap_or_default()),
        _ => {}
    }
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let figures = suite::select(&arguments.only);
    if figures.is_empty() {
        eprintln!("no figure has such a name; --list prints them");
        return ExitCode::from(2);
    }
    if arguments.list {
        for figure in figures {
            println!("{:<16} {}", figure.name, figure.what);
        }
        return ExitCode::SUCCESS;
    }
    let settings = Settings {
        window: Duration::from_secs_f64(arguments.seconds),
    };
    let mut outcomes = vec![Vec::new(); figures.len()];
    for round in 0..arguments.rounds {
        for (figure, outcomes) in figures.iter().zip(&mut outcomes) {
            if !arguments.json {
                eprint!(
                    "\r\x1b[2K{}/{} {}",
                    round + 1,
                    arguments.rounds,
                    figure.what
                );
            }
            outcomes.push(suite::measure(figure, settings));
        }
    }
    if !arguments.json {
        eprint!("\r\x1b[2K");
    }
    let report = Report {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        seconds: arguments.seconds,
        rounds: arguments.rounds,
        figures: figures
            .iter()
            .zip(&outcomes)
            .map(|(one, all)| Line::new(one, all))
            .collect(),
    };
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("the report cannot be written as JSON: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        println!("{}", report.table());
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for line in [
            "--seconds",
            "--seconds x",
            "--seconds 0",
            "--rounds 0",
            "--nonsense",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn figures_are_chosen_by_the_beginning_of_their_names() {
        let all = parse("").unwrap();
        assert!(suite::select(&all.only).len() > 3);
        let some = parse("--only raw --seconds 0.5 --json").unwrap();
        assert!(
            suite::select(&some.only)
                .iter()
                .all(|one| one.name.starts_with("raw"))
        );
        assert!(some.json);
        assert!(suite::select(&["nothing".to_owned()]).is_empty());
    }
}
