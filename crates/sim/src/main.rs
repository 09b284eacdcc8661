//! The simulator's command line: see [`HELP`].

use {
    mosaik_sim::{
        campaign::{self, Outcome},
        failure::Failure,
        mutants, open,
        run::{self, Options},
        scenario,
        trace::Trace,
    },
    std::{
        process::ExitCode,
        sync::atomic::{AtomicU64, Ordering},
        time::{Duration, Instant},
    },
};

const HELP: &str = "\
mosaik-sim: runs the consensus core in a hostile deterministic world

  --seed S          replay one run and print its story
  --seeds N         run N seeds on all cores
  --scenarios       run every scenario script
  --scenario NAME   run one scenario script and print its story
  --determinism     run a few seeds twice and compare their traces
  --mutants         plant every known fault and require that each is found
                    (needs RUSTFLAGS='--cfg mosaik_mutants')
  --ci              determinism, scenarios and 2,000 seeds

  --first S         first seed of --seeds (default 0)
  --members N       members a run starts with (default 5)
  --seconds T       virtual seconds under faults (default 20)
  --jobs J          threads (default: all cores)
  --mutant NAME     with --seed, --seeds or --scenarios: plant this fault
";

/// Seeds that CI runs.
const CI_SEEDS: u64 = 2_000;

#[derive(Debug, Default)]
struct Arguments {
    options: Options,
    seed: Option<u64>,
    seeds: Option<u64>,
    first: u64,
    jobs: usize,
    scenarios: bool,
    scenario: Option<String>,
    determinism: bool,
    mutants: bool,
    ci: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = Arguments {
        jobs,
        ..Arguments::default()
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|error| format!("{text}: {error}"))
        };
        match word.as_str() {
            "--seed" => arguments.seed = Some(number(value()?)?),
            "--seeds" => arguments.seeds = Some(number(value()?)?),
            "--first" => arguments.first = number(value()?)?,
            "--members" => arguments.options.members = number(value()?)? as usize,
            "--seconds" => arguments.options.seconds = number(value()?)?,
            "--jobs" => arguments.jobs = number(value()?)? as usize,
            "--scenario" => arguments.scenario = Some(value()?),
            "--mutant" => arguments.options.mutant = Some(mutants::named(&value()?)?),
            "--scenarios" => arguments.scenarios = true,
            "--determinism" => arguments.determinism = true,
            "--mutants" => arguments.mutants = true,
            "--ci" => arguments.ci = true,
            other => return Err(format!("unknown argument {other}\n\n{HELP}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let ran: Vec<bool> = carry_out(&arguments);
    if ran.is_empty() {
        print!("{HELP}");
    }
    if ran.iter().all(|passed| *passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn carry_out(arguments: &Arguments) -> Vec<bool> {
    let mut ran = Vec::new();
    if let Some(seed) = arguments.seed {
        ran.push(replay(seed, &arguments.options));
    }
    if let Some(name) = &arguments.scenario {
        ran.push(tell(name, &arguments.options));
    }
    campaign::silence_panics();
    if arguments.determinism || arguments.ci {
        ran.push(determinism(arguments));
    }
    if arguments.scenarios || arguments.ci {
        ran.push(scenarios(arguments));
    }
    if let Some(count) = arguments.seeds.or(arguments.ci.then_some(CI_SEEDS)) {
        ran.push(seeds(count, arguments));
    }
    if arguments.mutants {
        ran.push(all_mutants(arguments));
    }
    ran
}

fn replay(seed: u64, options: &Options) -> bool {
    match run::run(seed, options, Trace::printed()) {
        Ok(report) => {
            println!("seed {seed}: {report}");
            true
        }
        Err(failure) => {
            println!("seed {seed}: {failure}");
            false
        }
    }
}

fn tell(name: &str, options: &Options) -> bool {
    match scenario::run_named(name, options, Trace::printed) {
        Ok(()) => {
            println!("scenario {name} holds");
            true
        }
        Err(failure) => {
            println!("scenario {name}: {failure}");
            false
        }
    }
}

fn determinism(arguments: &Arguments) -> bool {
    const SEEDS: u64 = 12;
    let started = Instant::now();
    let outcome = campaign::run_all(arguments.first, SEEDS, arguments.jobs, 1, |seed| {
        let once = run::run(seed, &arguments.options, Trace::told())?;
        let again = run::run(seed, &arguments.options, Trace::told())?;
        if once.trace.hash() == again.trace.hash() && once.trace.lines() == again.trace.lines() {
            return Ok(());
        }
        let differs = once
            .trace
            .lines()
            .iter()
            .zip(again.trace.lines())
            .find(|(a, b)| a != b);
        Err(Failure::new(
            "determinism",
            format!("the traces differ first at {differs:?}"),
        ))
    });
    summary("determinism", &outcome, started.elapsed(), |seed| {
        seed_command(seed, arguments)
    })
}

fn scenarios(arguments: &Arguments) -> bool {
    let started = Instant::now();
    let all = scenario::ALL;
    let outcome = campaign::run_all(0, all.len() as u64, arguments.jobs, usize::MAX, |number| {
        scenario::run_named(all[number as usize].0, &arguments.options, Trace::hashed)
    });
    summary("scenarios", &outcome, started.elapsed(), |number| {
        format!(
            "--scenario {}{}",
            all[number as usize].0,
            options_text(&arguments.options)
        )
    })
}

fn seeds(count: u64, arguments: &Arguments) -> bool {
    let started = Instant::now();
    let apart = AtomicU64::new(0);
    let outcome = campaign::run_all(arguments.first, count, arguments.jobs, 10, |seed| {
        let report = run::run(seed, &arguments.options, Trace::hashed())?;
        apart.fetch_add(u64::from(!report.together), Ordering::Relaxed);
        Ok(())
    });
    println!("  {} ended with a majority lost", apart.into_inner());
    summary("seeds", &outcome, started.elapsed(), |seed| {
        seed_command(seed, arguments)
    })
}

fn all_mutants(arguments: &Arguments) -> bool {
    let started = Instant::now();
    let names = mutants::names();
    if names.is_empty() {
        println!("the core was built without mutants: set RUSTFLAGS='--cfg mosaik_mutants'");
        return false;
    }
    let outcome = campaign::run_all(
        0,
        names.len() as u64,
        arguments.jobs,
        usize::MAX,
        |number| {
            let name = names[number as usize];
            if let Some((_, why)) = open::UNNOTICED.iter().find(|(known, _)| *known == name) {
                println!("  {name}: not noticed, {why}");
                return Ok(());
            }
            let found = mutants::hunt(name, &arguments.options)?;
            println!("  {name}: found by {found}");
            Ok(())
        },
    );
    summary("mutants", &outcome, started.elapsed(), |number| {
        format!("--mutant {} --seeds 100", names[number as usize])
    })
}

fn options_text(options: &Options) -> String {
    let mut words = Vec::new();
    let defaults = Options::default();
    if options.members != defaults.members {
        words.push(format!(" --members {}", options.members));
    }
    if options.seconds != defaults.seconds {
        words.push(format!(" --seconds {}", options.seconds));
    }
    if let Some(mutant) = options.mutant {
        words.push(format!(" --mutant {mutant}"));
    }
    words.concat()
}

fn seed_command(seed: u64, arguments: &Arguments) -> String {
    format!("--seed {seed}{}", options_text(&arguments.options))
}

fn summary(what: &str, outcome: &Outcome, took: Duration, command: impl Fn(u64) -> String) -> bool {
    for (number, failure) in &outcome.failed {
        println!("  {failure}");
        println!(
            "    cargo run --release -p mosaik-sim -- {}",
            command(*number)
        );
    }
    let (passed, failed) = (outcome.passed, outcome.failed.len());
    println!(
        "{what}: {passed} passed, {failed} failed ({:.1} s)",
        took.as_secs_f64()
    );
    failed == 0
}
