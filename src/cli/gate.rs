//! `nightmail gate`: experiments, each once, and one answer for a pipeline.
//!
//! Nothing is tried again: a run that is in doubt stays in doubt. Once the time that is left cannot hold the next experiment
//! none is begun any more, and those that were not reached leave the gate not proven.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::args::{GateArgs, ShardChoice};
use super::engine::{self, Choice, Chosen};
use super::reports::{Gaps, Muted, Weights};
use super::runner::{Runner, Shown, block_on, load_plans};
use super::{exit, reports};
use crate::campaign::shard::{self, Durations, Wanted};
use crate::campaign::{Campaign, RunRecord, Shard, short_names};
use crate::duration::DurationMs;
use crate::plan::Plan;
use crate::verdict::worst;

/// Runs the experiments, reports on all of them, and returns the worst exit code.
pub fn gate(args: &GateArgs) -> u8 {
    let began = Instant::now();
    let chosen = match engine::choose(args.select.engine) {
        Ok(Chosen::Elsewhere(code)) | Err(code) => return code,
        Ok(Chosen::Here(chosen)) => chosen,
    };
    match Planned::new(args, &chosen) {
        Ok(planned) => block_on(run(args, chosen, planned, began)),
        Err(code) => code,
    }
}

async fn run(args: &GateArgs, chosen: Choice, planned: Planned, began: Instant) -> u8 {
    let runner = match Runner::new(&args.out, false, args.release.clone(), chosen).await {
        Ok(runner) => Arc::new(runner),
        Err(code) => return code,
    };
    let Planned {
        mut campaign,
        jobs,
        weights,
    } = planned;
    if let Err(error) = announce(&campaign, &args.out) {
        eprintln!(
            "error: nothing was run, since {} is no place to write to: {error}",
            args.out.display()
        );
        return exit::BROKEN;
    }
    let muted = Muted::begin(&args.reports);
    let made = make(&runner, args, jobs, began).await;
    campaign.runs = made.runs;
    campaign.runs.sort_by_key(|run| run.started_unix_ms);
    let gaps = Gaps {
        worst_besides: worst([made.code].into_iter().chain(runner.interrupted())),
        ..Gaps::default()
    };
    reports::conclude(&args.reports, weights, &args.out, &campaign, &gaps, muted)
}

/// Writes what is to be run before anything is. Should the gate be killed, whoever reads its folder finds that nothing of it was
/// reached, and not what an earlier gate left there.
fn announce(campaign: &Campaign, out: &Path) -> io::Result<()> {
    fs::create_dir_all(out)?;
    campaign.write(out)
}

/// What is to be run here.
struct Planned {
    /// Without runs yet.
    campaign: Campaign,
    jobs: VecDeque<Job>,
    weights: Weights,
}

/// An experiment that is to be run.
#[derive(Debug, Clone)]
struct Job {
    name: String,
    plan: Plan,
    expected_ms: u64,
}

impl Planned {
    /// Everything that can be wrong is found here, before anything starts.
    fn new(args: &GateArgs, chosen: &Choice) -> Result<Self, u8> {
        let weights = Weights::load(&args.reports)?;
        let durations = durations(args.durations.as_deref())?;
        let plans = each_once(load_plans(&args.select, chosen.traits())?);
        let planned = Self::of(plans, args.shard, &durations, args.jobs);
        Ok(Self { weights, ..planned })
    }

    fn of(plans: Vec<Plan>, choice: Option<ShardChoice>, durations: &Durations, at_once: usize) -> Self {
        let wanted: Vec<Wanted> = plans.iter().map(|plan| Wanted::of(plan, durations)).collect();
        let files: Vec<PathBuf> = wanted.iter().map(|wanted| wanted.file.clone()).collect();
        let names = short_names(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        let mut jobs: Vec<Job> = plans
            .into_iter()
            .zip(names)
            .zip(&wanted)
            .map(|((plan, name), wanted)| Job {
                name,
                plan,
                expected_ms: wanted.expected_ms,
            })
            .collect();
        let mut campaign = Campaign::of(Vec::new());
        campaign.planned.clone_from(&files);
        if let Some(ShardChoice { number, of }) = choice {
            let own = shard::split(&wanted, of).swap_remove(number as usize - 1);
            jobs = own.iter().map(|at| jobs[*at].clone()).collect();
            campaign.planned = own.iter().map(|at| files[*at].clone()).collect();
            campaign.shard = Some(Shard {
                number,
                of: of.get(),
                whole: shard::whole(&wanted),
                all: files,
            });
        }
        if at_once > 1 {
            // So that none of them goes on alone for long at the end.
            jobs.sort_by_key(|job| std::cmp::Reverse(job.expected_ms));
        }
        let jobs = jobs.into();
        Self {
            campaign,
            jobs,
            weights: Weights::default(),
        }
    }
}

/// One experiment may be named by a folder and by its file.
fn each_once(plans: Vec<Plan>) -> Vec<Plan> {
    let mut met = BTreeSet::new();
    let is_new = |plan: &Plan| {
        let path = &plan.experiment.path;
        met.insert(path.canonicalize().unwrap_or_else(|_| shard::plain(path)))
    };
    plans.into_iter().filter(is_new).collect()
}

fn durations(path: Option<&Path>) -> Result<Durations, u8> {
    let Some(path) = path else {
        return Ok(Durations::default());
    };
    match Campaign::read(path) {
        Ok(campaign) => Ok(Durations::of(&campaign)),
        Err(error) => {
            eprintln!("error: {error}");
            Err(exit::INVALID)
        }
    }
}

/// What became of the jobs.
struct Made {
    runs: Vec<RunRecord>,
    /// The worst of what became no run.
    code: u8,
}

async fn make(runner: &Arc<Runner>, args: &GateArgs, jobs: VecDeque<Job>, began: Instant) -> Made {
    let limit_ms = args.time_limit.map(|limit| limit.0);
    let width = jobs.iter().map(|job| job.name.chars().count()).max().unwrap_or(0);
    let mut time_is_up = None;
    let may_begin = |job: &Job, done: &[Result<RunRecord, u8>]| {
        let goes_on = runner.interrupted().is_none() && done.iter().all(Result::is_ok);
        let elapsed_ms = began.elapsed().as_millis() as u64;
        let fits = shard::fits(elapsed_ms, job.expected_ms, limit_ms);
        if goes_on && !fits {
            time_is_up.get_or_insert_with(|| job.clone());
        }
        goes_on && fits
    };
    let begin = |job: Job| {
        let runner = runner.clone();
        let shown = match args.jobs {
            1 => Shown::Alone,
            _ => Shown::Beside(format!("{:<width$}  ", job.name)),
        };
        move || one(&runner, &job.plan, &shown)
    };
    let (done, left) = take_turns(args.jobs, jobs, may_begin, begin).await;
    if let (Some(job), Some(limit)) = (time_is_up, args.time_limit) {
        tell_limit(&job, limit, left.len());
    }
    let (runs, codes): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    Made {
        runs: runs.into_iter().flatten().collect(),
        code: worst(codes.into_iter().filter_map(Result::err)),
    }
}

fn tell_limit(job: &Job, limit: DurationMs, left: usize) {
    let takes = DurationMs(job.expected_ms.div_ceil(1_000) * 1_000);
    let more = match left {
        0 | 1 => "it was not run".to_owned(),
        left => format!("it and {} more were not run", left - 1),
    };
    eprintln!(
        "note: `{}` takes about {takes}, which the rest of the time limit of {limit} cannot hold: {more}\n  hint: give more \
         time, run several at once (`--jobs`), or split them among machines (`--shard`)",
        job.name
    );
}

/// One run, as a campaign knows it, driven by the thread that calls: judging takes seconds, and a fault of another run must
/// not wait for them. A defect of nightmail's is the end of this run and of no other.
fn one(runner: &Runner, plan: &Plan, shown: &Shown) -> Result<RunRecord, u8> {
    let runtime = Handle::current();
    let made = catch_unwind(AssertUnwindSafe(|| runtime.block_on(runner.run(plan, shown))));
    let done = made.unwrap_or(Err(exit::BROKEN))?;
    let read = RunRecord::read(&done.dir);
    Ok(read.unwrap_or_else(|_| RunRecord::of(&done.dir, &plan.redacted(), &[], done.verdict)))
}

/// Does jobs in their order, so many at once, each on a thread of its own, as long as `may_begin` (the next one, what is done so far) says so. Gives what
/// was done, in the order of its end, and what was not begun.
async fn take_turns<J, T, F>(
    at_once: usize,
    mut waiting: VecDeque<J>,
    mut may_begin: impl FnMut(&J, &[T]) -> bool,
    mut begin: impl FnMut(J) -> F,
) -> (Vec<T>, VecDeque<J>)
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (mut done, mut under_way) = (Vec::new(), JoinSet::new());
    loop {
        while under_way.len() < at_once
            && waiting.front().is_some_and(|next| may_begin(next, &done))
            && let Some(next) = waiting.pop_front()
        {
            under_way.spawn_blocking(begin(next));
        }
        match under_way.join_next().await {
            Some(Ok(one)) => done.push(one),
            // Jobs guard themselves against panics, and nobody cancels them.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => return (done, waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::report::sample;

    #[tokio::test]
    async fn so_many_go_on_at_once_and_each_once() {
        for at_once in [1, 3, 4] {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            // Nobody gets past it before so many have come.
            let together = Arc::new(Barrier::new(at_once));
            let begin = |job: usize| {
                let (now, most, together) = (now.clone(), most.clone(), together.clone());
                move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    together.wait();
                    now.fetch_sub(1, Ordering::SeqCst);
                    job
                }
            };
            let (done, left) = take_turns(at_once, (0..12).collect(), |_, _| true, begin).await;
            assert_eq!(most.load(Ordering::SeqCst), at_once);
            assert!(left.is_empty());
            let met: BTreeSet<usize> = done.iter().copied().collect();
            assert_eq!((met.len(), done.len()), (12, 12));
        }
    }

    #[tokio::test]
    async fn what_is_under_way_ends_and_nothing_more_is_begun() {
        let may_begin = |job: &usize, _: &[usize]| *job < 4;
        let (done, left) = take_turns(2, (0..8).collect(), may_begin, |job| move || job).await;
        assert_eq!(done.len(), 4);
        assert_eq!(left, [4, 5, 6, 7]);
        let broken = |_: &usize, done: &[usize]| !done.contains(&1);
        let (done, left) = take_turns(1, (0..5).collect(), broken, |job| move || job).await;
        assert_eq!((done, left.len()), (vec![0, 1], 3));
    }

    fn plans(count: usize) -> Vec<Plan> {
        let plan = |number: usize| {
            let mut plan = sample::plan();
            plan.experiment.path = format!("experiments/{number}.yaml").into();
            plan.experiment.sha256 = number.to_string();
            plan.schedule.total_ms = 1_000 * number as u64;
            plan
        };
        (0..count).map(plan).collect()
    }

    fn shard_of(number: u32, of: u32) -> Option<ShardChoice> {
        NonZero::new(of).map(|of| ShardChoice { number, of })
    }

    #[test]
    fn the_shards_of_a_gate_are_the_gate() {
        let whole = Planned::of(plans(7), None, &Durations::default(), 1);
        assert_eq!(
            (whole.campaign.planned.len(), whole.campaign.shard.is_none()),
            (7, true)
        );
        let shards: Vec<Planned> = (1..=3)
            .map(|number| Planned::of(plans(7), shard_of(number, 3), &Durations::default(), 1))
            .collect();
        let mut met: Vec<PathBuf> = shards.iter().flat_map(|shard| shard.campaign.planned.clone()).collect();
        met.sort();
        assert_eq!(met, whole.campaign.planned);
        for (number, planned) in (1..).zip(&shards) {
            let shard = planned.campaign.shard.as_ref().unwrap();
            assert_eq!((shard.number, shard.of), (number, 3));
            assert_eq!(shard.all, whole.campaign.planned);
            assert_eq!(shard.whole, shards[0].campaign.shard.as_ref().unwrap().whole);
            let jobs: Vec<&PathBuf> = planned.jobs.iter().map(|job| &job.plan.experiment.path).collect();
            assert_eq!(
                jobs,
                planned.campaign.planned.iter().collect::<Vec<_>>(),
                "in the order of the files"
            );
        }
    }

    #[test]
    fn what_is_to_be_run_takes_the_place_of_what_an_earlier_gate_left() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("runs");
        let planned = Planned::of(plans(3), shard_of(1, 2), &Durations::default(), 1).campaign;
        announce(&planned, &out).unwrap();
        assert_eq!(Campaign::read(&out).unwrap(), planned);
        let earlier = Campaign {
            runs: vec![sample::record(&sample::passed(), 1)],
            ..planned.clone()
        };
        earlier.write(&out).unwrap();
        announce(&planned, &out).unwrap();
        assert_eq!(Campaign::read(&out).unwrap(), planned);
    }

    #[test]
    fn beside_each_other_the_longest_begin_first() {
        let planned = Planned::of(plans(4), None, &Durations::default(), 2);
        let names: Vec<&str> = planned.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["3", "2", "1", "0"]);
    }

    #[test]
    fn an_experiment_that_is_named_twice_is_run_once() {
        let mut twice = plans(2);
        twice[1].experiment.path = "./experiments/0.yaml".into();
        assert_eq!(each_once(twice).len(), 1);
    }
}
