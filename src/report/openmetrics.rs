//! The results of a campaign for a metrics system, as OpenMetrics text.
//!
//! The format is OpenMetrics 1.0 (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>): each
//! family once, with its TYPE, UNIT and HELP, all its samples together, and `# EOF` at the end. Every family is a gauge: a
//! campaign is over, and what it found does not go on counting.
//!
//! An experiment that was run several times is shown by its latest run, so that the series of one pipeline go on from
//! campaign to campaign; `nightmail_runs` counts all of its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::text::clean;
use super::words;
use crate::campaign::{Campaign, RunRecord};
use crate::verdict::{Judgement, Verdict};

/// File of the metrics within a campaign's folder.
pub const FILE: &str = "metrics.txt";

/// The media type of the format.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every outcome of a run: a series for each, so that none goes stale when another takes its place.
const OUTCOMES: [&str; 5] = ["pass", "fail", "inconclusive", "aborted", "interrupted"];
const JUDGEMENTS: [Judgement; 3] = [Judgement::Pass, Judgement::Fail, Judgement::Inconclusive];

/// What a gate came to.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Its exit code.
    pub exit_code: u8,
    /// How many experiments have no run.
    pub not_reached: usize,
}

/// Renders the metrics of a campaign, and of the gate that made it.
pub fn render(campaign: &Campaign, gate: Option<&Gate>) -> String {
    // Twins of `prove` and runs with a defect fail as they should, and would stand in the place of the experiment.
    let mut runs: Vec<&RunRecord> = campaign.runs.iter().collect();
    runs.retain(|run| !run.is_twin && run.verdict.defects.is_empty());
    runs.sort_by_key(|run| run.started_unix_ms);
    let latest: BTreeMap<Key<'_>, &RunRecord> = runs.iter().map(|&run| (key(run), run)).collect();
    let mut page = Page::default();
    if let Some(gate) = gate {
        of_gate(&mut page, gate);
    }
    counts(&mut page, &runs, &latest);
    runs_of(&mut page, &latest);
    recovery(&mut page, &latest);
    safety(&mut page, &latest);
    operations(&mut page, &latest);
    services(&mut page, &latest);
    failovers(&mut page, &latest);
    page.text.push_str("# EOF\n");
    page.text
}

/// Experiment, system, engine.
type Key<'a> = (&'a str, &'a str, &'a str);
type Latest<'a> = BTreeMap<Key<'a>, &'a RunRecord>;

fn key(run: &RunRecord) -> Key<'_> {
    (&run.verdict.experiment, &run.system, &run.engine)
}

fn of_gate(page: &mut Page, gate: &Gate) {
    let help = "Exit code of the gate.";
    page.family("nightmail_gate_exit_code", "", help)
        .whole(f64::from(gate.exit_code));
    let help = "Experiments of the gate that were not reached, or whose results are lost.";
    page.family("nightmail_gate_not_reached", "", help)
        .whole(gate.not_reached as f64);
}

fn counts(page: &mut Page, runs: &[&RunRecord], latest: &Latest<'_>) {
    let help = "Runs of the experiment in the campaign, by what they came to.";
    let mut family = page.family("nightmail_runs", "", help);
    for of in latest.keys() {
        for outcome in OUTCOMES {
            let is_so = |run: &&&RunRecord| key(run) == *of && words::outcome(&run.verdict) == outcome;
            let number = runs.iter().filter(is_so).count();
            family.sample(of, &[("verdict", outcome)], Some(number as f64));
        }
    }
}

fn runs_of(page: &mut Page, latest: &Latest<'_>) {
    let help = "1 for what the latest run came to, 0 for everything else.";
    let mut family = page.family("nightmail_run_verdict", "", help);
    for (of, run) in latest {
        for outcome in OUTCOMES {
            let is_so = words::outcome(&run.verdict) == outcome;
            family.sample(of, &[("verdict", outcome)], Some(f64::from(u8::from(is_so))));
        }
    }
    // Neither the run nor the release: each would make new series with every pipeline, and readers show what comes and goes.
    let help = "1, with what else is known of the latest run, and changes with the experiment or with nightmail.";
    let mut family = page.family("nightmail_run_description", "", help);
    for (of, run) in latest {
        let labels = [
            ("nightmail", run.nightmail.as_str()),
            ("sha256", &run.sha256),
            ("title", &run.verdict.title),
        ];
        family.sample(of, &labels, Some(1.0));
    }
    let help = "When the latest run began, since 1970-01-01 UTC.";
    page.each(latest, "nightmail_run_started_seconds", "seconds", help, |run| {
        Some(run.started_unix_ms as f64 / 1e3)
    });
    let help = "How long the latest run took by the wall clock.";
    page.each(latest, "nightmail_run_took_seconds", "seconds", help, |run| {
        Some(run.took_ms as f64 / 1e3)
    });
    let help = "Exit code of the latest run.";
    page.each(latest, "nightmail_run_exit_code", "", help, |run| {
        Some(f64::from(run.verdict.exit_code))
    });
    let help = "Assertions of the latest run, by what they came to.";
    let mut family = page.family("nightmail_assertions", "", help);
    for (of, run) in latest {
        for judged in JUDGEMENTS {
            let assertions = run.verdict.assertions.iter();
            let number = assertions
                .filter(|assertion| assertion.finding.verdict == judged)
                .count();
            family.sample(of, &[("verdict", words::judgement(judged))], Some(number as f64));
        }
    }
}

fn recovery(page: &mut Page, latest: &Latest<'_>) {
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
    let measured = |verdict: &Verdict, ms: Option<f64>| seconds(ms).filter(|_| !verdict.recovery.censored);
    let help = "From the last heal to the start of the good time that then lasted; absent if it did not recover.";
    page.each(latest, "nightmail_recovery_time_seconds", "seconds", help, |run| {
        measured(&run.verdict, run.verdict.recovery.recovery_time_ms)
    });
    let help = "From the first effect of a fault to the same moment; absent if it did not recover.";
    page.each(latest, "nightmail_disruption_seconds", "seconds", help, |run| {
        measured(&run.verdict, run.verdict.recovery.disruption_ms)
    });
    let help = "1 if it had not recovered when the load ended, so that its times have no end.";
    page.each(latest, "nightmail_not_recovered", "", help, |run| {
        let had_faults = !run.verdict.faults.is_empty();
        had_faults.then_some(f64::from(u8::from(run.verdict.recovery.censored)))
    });
    let help = "From the last heal to the moment piled-up work was worked off.";
    page.each(latest, "nightmail_backlog_drained_seconds", "seconds", help, |run| {
        seconds(run.verdict.recovery.backlog_drained_ms)
    });
    let help = "The load generator's own lag at the 99th percentile.";
    page.each(latest, "nightmail_generator_lag_p99_seconds", "seconds", help, |run| {
        seconds(run.verdict.lag_p99_ms)
    });
}

fn safety(page: &mut Page, latest: &Latest<'_>) {
    let number = |number: Option<u64>| number.map(|number| number as f64);
    let help = "Operations that were acknowledged and are gone; absent if it cannot be said that there are none.";
    page.each(latest, "nightmail_lost_operations", "operations", help, |run| {
        number(run.verdict.safety.lost)
    });
    let help = "Effects that are there more often than they may be; absent likewise.";
    page.each(latest, "nightmail_happened_twice", "", help, |run| {
        number(run.verdict.safety.twice)
    });
    let help = "Differences of ledgers, journals and copies; absent likewise.";
    page.each(latest, "nightmail_ledger_differences", "", help, |run| {
        number(run.verdict.safety.ledger_differences)
    });
}

fn operations(page: &mut Page, latest: &Latest<'_>) {
    let help = "Operations of the load, by their outcome.";
    let mut family = page.family("nightmail_load_operations", "operations", help);
    for (of, run) in latest {
        for operation in &run.verdict.operations {
            let name = operation.operation.as_str();
            for (outcome, number) in [("ok", operation.ok), ("fail", operation.fail), ("info", operation.info)] {
                let labels = [("operation", name), ("outcome", outcome)];
                family.sample(of, &labels, Some(number as f64));
            }
        }
    }
    for (metric, help, at) in [
        (
            "nightmail_latency_p50_seconds",
            "Median latency of operations that were served, from the intended time.",
            0.5,
        ),
        (
            "nightmail_latency_p99_seconds",
            "99th percentile of the latency of operations that were served, from the intended time.",
            0.99,
        ),
    ] {
        let mut family = page.family(metric, "seconds", help);
        for (of, run) in latest {
            for operation in &run.verdict.operations {
                let ms = if at == 0.5 { operation.p50_ms } else { operation.p99_ms };
                family.sample(of, &[("operation", &operation.operation)], ms.map(|ms| ms / 1e3));
            }
        }
    }
}

fn services(page: &mut Page, latest: &Latest<'_>) {
    let help = "For how long an operation of the business service was disrupted; absent if it cannot be told.";
    let mut family = page.family("nightmail_service_disrupted_seconds", "seconds", help);
    for (of, run) in latest {
        for service in &run.verdict.services {
            let disrupted_s = service.disrupted_ms.map(|ms| ms / 1e3);
            family.sample(of, &[("service", &service.service)], disrupted_s);
        }
    }
    let help = "For how long the business service may be disrupted: its impact tolerance.";
    let mut family = page.family("nightmail_service_tolerated_seconds", "seconds", help);
    for (of, run) in latest {
        for service in &run.verdict.services {
            let tolerated_s = service.tolerated_ms as f64 / 1e3;
            family.sample(of, &[("service", &service.service)], Some(tolerated_s));
        }
    }
    let help = "1 for whether the business service stayed within its impact tolerance, 0 for everything else.";
    let mut family = page.family("nightmail_service_verdict", "", help);
    for (of, run) in latest {
        for service in &run.verdict.services {
            for judged in JUDGEMENTS {
                let labels = [
                    ("service", service.service.as_str()),
                    ("verdict", words::judgement(judged)),
                ];
                family.sample(of, &labels, Some(f64::from(u8::from(service.verdict == judged))));
            }
        }
    }
}

fn failovers(page: &mut Page, latest: &Latest<'_>) {
    let help = "From the command that broke a primary to a stage of the change to another.";
    let mut family = page.family("nightmail_failover_seconds", "seconds", help);
    for (of, run) in latest {
        for failover in &run.verdict.failovers {
            for (stage, ms) in [
                ("detection", failover.times.detection_ms),
                ("promotion", Some(failover.times.promotion_ms)),
                ("first-write", Some(failover.times.first_write_ms)),
            ] {
                let labels = [("fault", failover.fault.as_str()), ("stage", stage)];
                family.sample(of, &labels, ms.map(|ms| ms / 1e3));
            }
        }
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Begins a family. Its name ends with its unit, as the format wants it.
    fn family(&mut self, name: &'static str, unit: &str, help: &str) -> Family<'_> {
        let _ = writeln!(self.text, "# TYPE {name} gauge");
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
        Family {
            page: self,
            name,
            told: BTreeSet::new(),
        }
    }

    /// A family with one sample a run.
    fn each(
        &mut self,
        latest: &Latest<'_>,
        name: &'static str,
        unit: &str,
        help: &str,
        value: impl Fn(&RunRecord) -> Option<f64>,
    ) {
        let mut family = self.family(name, unit, help);
        for (of, run) in latest {
            family.sample(of, &[], value(run));
        }
    }
}

struct Family<'p> {
    page: &'p mut Page,
    name: &'static str,
    /// Labels that have a sample: two samples with the same are an error, and names that differ may be shown alike.
    told: BTreeSet<String>,
}

impl Family<'_> {
    /// The one sample of a family that is of no experiment.
    fn whole(&mut self, value: f64) {
        let _ = writeln!(self.page.text, "{} {value}", self.name);
    }

    /// A sample of an experiment. One without a value is left out.
    fn sample(&mut self, of: &Key<'_>, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            return;
        };
        let all = [("experiment", of.0), ("system", of.1), ("engine", of.2)];
        let all = all.iter().chain(labels);
        let labels: Vec<String> = all
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        let labels = labels.join(",");
        if self.told.insert(labels.clone()) {
            let _ = writeln!(self.page.text, "{}{{{labels}}} {value}", self.name);
        }
    }
}

/// Data as the value of a label: control characters spelled out, and what would end the value escaped.
fn escape(data: &str) -> String {
    clean(data).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::sample;

    fn record(verdict: Verdict, started_unix_ms: i64) -> RunRecord {
        let mut run = RunRecord::of(Path::new("runs/x"), &sample::plan(), &sample::events(), verdict);
        run.started_unix_ms = started_unix_ms;
        run.verdict.run_id = format!("run-{started_unix_ms}");
        run
    }

    fn lines<'a>(text: &'a str, of: &str) -> Vec<&'a str> {
        text.lines().filter(|line| line.starts_with(of)).collect()
    }

    #[test]
    fn a_campaign_as_openmetrics() {
        let gate = Gate {
            exit_code: 3,
            not_reached: 2,
        };
        let text = render(&Campaign::of(vec![record(sample::passed(), 1_000)]), Some(&gate));
        assert_well_formed(&text);
        insta::assert_snapshot!("openmetrics", text);
    }

    /// What the specification asks of the text as a whole.
    fn assert_well_formed(text: &str) {
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(text.lines().filter(|line| line.starts_with("# EOF")).count(), 1);
        let mut family = "";
        let (mut seen, mut samples) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(told) = line.strip_prefix("# ") {
                let (kind, rest) = told.split_once(' ').unwrap();
                let (name, told) = rest.split_once(' ').unwrap();
                assert!(["TYPE", "UNIT", "HELP"].contains(&kind), "{line}");
                assert!(seen.insert((kind, name)), "twice: {line}");
                assert!(kind != "UNIT" || name.ends_with(&format!("_{told}")), "{line}");
                assert!(kind != "TYPE" || told == "gauge", "{line}");
                family = name;
                continue;
            }
            let (name, rest) = line.split_once('{').unwrap_or_else(|| {
                let (name, _) = line.split_once(' ').unwrap();
                (name, &line[name.len()..])
            });
            assert_eq!(name, family, "samples of a family stand together");
            let (labels, value) = rest.rsplit_once("} ").unwrap_or(("", rest.trim_start()));
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(samples.insert((name, labels)), "twice: {line}");
            let unescaped = labels.replace("\\\\", "").replace("\\\"", "").replace("\\n", "");
            assert_eq!(unescaped.matches('"').count() % 2, 0, "{line}");
            assert!(!unescaped.contains('\\'), "{line}");
        }
    }

    #[test]
    fn every_kind_of_run_is_well_formed() {
        let all = [
            sample::passed(),
            sample::failed(),
            sample::inconclusive(),
            sample::aborted(),
        ];
        for verdict in all {
            let mut verdict = verdict;
            verdict.defects.clear();
            assert_well_formed(&render(&Campaign::of(vec![record(verdict, 1)]), None));
        }
        assert_well_formed(&format!("# TYPE x gauge\n{}", render(&Campaign::of(Vec::new()), None)));
    }

    #[test]
    fn the_latest_run_stands_for_the_experiment_and_all_are_counted() {
        let mut failed = sample::failed();
        failed.defects.clear();
        let runs = vec![record(sample::passed(), 2_000), record(failed, 1_000)];
        let text = render(&Campaign::of(runs), None);
        assert_well_formed(&text);
        let verdicts = lines(&text, "nightmail_run_verdict{");
        assert_eq!(verdicts.len(), OUTCOMES.len());
        assert!(verdicts[0].ends_with("verdict=\"pass\"} 1"), "{}", verdicts[0]);
        assert!(lines(&text, "nightmail_runs{")[1].ends_with("verdict=\"fail\"} 1"));
        assert!(lines(&text, "nightmail_run_started_seconds{")[0].ends_with("} 2"));
    }

    #[test]
    fn the_series_of_two_runs_are_the_same() {
        let series = |started_unix_ms: i64, release: &str| {
            let mut run = record(sample::passed(), started_unix_ms);
            run.release = release.to_owned();
            let text = render(&Campaign::of(vec![run]), None);
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            samples
                .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(series(1_000, "a1"), series(2_000, "b2"));
    }

    #[test]
    fn what_did_not_recover_has_no_recovery_time() {
        let text = render(&Campaign::of(vec![record(sample::inconclusive(), 1)]), None);
        assert_eq!(lines(&text, "nightmail_recovery_time_seconds{"), [""; 0]);
        assert!(lines(&text, "nightmail_not_recovered{")[0].ends_with("} 1"));
    }

    #[test]
    fn twins_and_runs_with_a_defect_do_not_stand_for_the_experiment() {
        let mut twin = record(sample::passed(), 1);
        twin.is_twin = true;
        let text = render(&Campaign::of(vec![twin, record(sample::failed(), 2)]), None);
        assert_eq!(
            lines(&text, "nightmail_run_verdict{"),
            [""; 0],
            "both are unsafe on purpose"
        );
    }

    #[test]
    fn a_hostile_title_stays_in_its_label() {
        let mut verdict = sample::passed();
        let hostile = "a\"} 1\n# EOF\nnightmail_x{y=\"\\\" \x1b[2J \u{202e} \\n";
        verdict.title = hostile.to_owned();
        verdict.experiment = hostile.to_owned();
        verdict.operations[0].operation = hostile.to_owned();
        verdict.services[0].service = hostile.to_owned();
        let text = render(&Campaign::of(vec![record(verdict, 1)]), None);
        assert_well_formed(&text);
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
        assert!(text.contains("title=\"a\\\"} 1\\\\n# EOF\\\\nnightmail_x{y=\\\"\\\\\\\" \\\\u{1b}[2J"));
    }
}
