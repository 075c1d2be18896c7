//! The simulator's command line.

use std::process::ExitCode;
use std::time::Instant;

use archfan_sim::faults::Fault;
use archfan_sim::focus::Focus;
use archfan_sim::invariants;
use archfan_sim::play::{self, Plan};
use archfan_sim::tape::Tape;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays schedules of archfan's controller against a model of its cluster.
#[derive(Debug, Parser)]
#[command(name = "archfan-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play many schedules.
    Run {
        /// How many.
        #[arg(long, default_value_t = 50_000)]
        schedules: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// On how many threads; as many as there are cores, if left out.
        #[arg(long)]
        jobs: Option<usize>,
        /// After how many failures to stop.
        #[arg(long, default_value_t = 1)]
        failures: usize,
        /// Print what was met, as Markdown.
        #[arg(long)]
        table: bool,
        /// Do not fail because of something that was never met.
        #[arg(long)]
        uncovered: bool,
        /// A bug to plant.
        #[arg(long, value_parser = fault)]
        fault: Option<Fault>,
    },
    /// Plant each bug in turn, and find it.
    Faults {
        /// How many schedules each may take.
        #[arg(long, default_value_t = 100_000)]
        schedules: u64,
        /// On how many threads; as many as there are cores, if left out.
        #[arg(long)]
        jobs: Option<usize>,
        /// Only this one.
        #[arg(long, value_parser = fault)]
        only: Option<Fault>,
    },
    /// Play the schedule of one seed and tell what happens.
    Replay {
        /// The seed.
        seed: u64,
        /// Make it as small as it gets first, if it fails.
        #[arg(long)]
        shrink: bool,
        /// A bug to plant.
        #[arg(long, value_parser = fault)]
        fault: Option<Fault>,
    },
    /// List the invariants.
    Invariants,
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| format!("there is no fault {name}; `archfan-sim faults` lists them"))
}

fn cores(jobs: Option<usize>) -> usize {
    jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { schedules, seed, jobs, failures, table, uncovered, fault } => {
            let jobs = cores(jobs);
            let plan = Plan { first: seed, count: schedules, jobs, most_failures: failures, fault };
            run(plan, table, uncovered)
        }
        Command::Faults { schedules, jobs, only } => faults(schedules, cores(jobs), only),
        Command::Replay { seed, shrink, fault } => replay(seed, fault, shrink),
        Command::Invariants => {
            for (name, promise) in invariants::ALL {
                println!("{name}: {promise}");
            }
            ExitCode::SUCCESS
        }
    }
}

fn run(plan: Plan, table: bool, uncovered: bool) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let campaign = play::campaign(plan);
    let took = begun.elapsed();
    let coverage = &campaign.coverage;
    let rate = |count: u64| u128::from(count) * 1000 / took.as_millis().max(1);
    println!(
        "{} schedules in {:.1} s on {} threads: {} schedules, {} steps, {} reconciles a second",
        coverage.schedules,
        took.as_secs_f64(),
        plan.jobs,
        rate(coverage.schedules),
        rate(coverage.steps),
        rate(coverage.reconciles),
    );
    if table {
        println!("{}", coverage.table());
    }
    for failure in &campaign.failures {
        println!(
            "\nseed {} breaks {}: {}",
            failure.seed, failure.violation.invariant, failure.violation.detail
        );
    }
    if let Some(first) = campaign.failures.first() {
        let choices = play::shrink(first.seed, plan.fault, &first.violation, 6000);
        let small = play::play(Tape::given(choices), Focus::of(first.seed), plan.fault, true);
        println!(
            "\nthe smallest schedule found that breaks it ({} steps):\n{}",
            small.steps,
            small.trace.join("\n")
        );
        println!("\nreplay it whole with: archfan-sim replay {}", first.seed);
        return ExitCode::FAILURE;
    }
    let missing = coverage.missing();
    if !missing.is_empty() {
        println!("\nnever met:\n  {}", missing.join("\n  "));
        if !uncovered {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Plants each bug in turn, and says how many schedules it took to find it.
fn faults(schedules: u64, jobs: usize, only: Option<Fault>) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    println!("| fault | what the controller does wrong | schedules | found by |\n|---|---|---:|---|");
    for (fault, what) in Fault::ALL.iter().filter(|(fault, _)| only.is_none_or(|only| only == *fault)) {
        let plan = Plan { first: 1, count: schedules, jobs, most_failures: 1, fault: Some(*fault) };
        let campaign = play::campaign(plan);
        let found = campaign.failures.first();
        let (taken, by) = match found {
            Some(failure) => (failure.seed.to_string(), format!("`{}`", failure.violation.invariant)),
            None => ("not found".to_owned(), String::new()),
        };
        println!("| `{fault}` | {} | {taken} | {by} |", what.trim());
        if found.is_none() {
            missed.push(fault.to_string());
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nnot found within {schedules} schedules: {}", missed.join(", "));
    ExitCode::FAILURE
}

fn replay(seed: u64, fault: Option<Fault>, shrink: bool) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let whole = play::play_seed(seed, fault, true);
    let played = match &whole.violation {
        Some(violation) if shrink => {
            play::play(Tape::given(play::shrink(seed, fault, violation, 5000)), Focus::of(seed), fault, true)
        }
        _ => whole,
    };
    println!("seed {seed}, {:?}", Focus::of(seed));
    println!("{}", played.trace.join("\n"));
    match played.violation {
        None => {
            println!("nothing is broken");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("broken: {} ({})", violation.invariant, violation.detail);
            ExitCode::FAILURE
        }
    }
}
