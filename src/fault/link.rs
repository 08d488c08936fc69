//! What the faults of links share: their parameters, what makes no sense in them, and how they are told. What is done is in
//! `spoil`, how it is seen in `sign`.

use async_trait::async_trait;

use super::sign::{Shows, Sign, WITHIN};
use super::{Fault, FaultContext, FaultError, Problem, Receipt, network, spoil, toxiproxy};
use crate::duration::DurationMs;
use crate::link::chain::{Direction, Per};
use crate::link::toxic::latency::Distribution;
use crate::link::toxic::{Kind, TOXIPROXY_TYPES};
use crate::plan::Target;

/// The least share that can be shown to bite, and to leave something, within some ten thousand exchanges.
const TOXICITY_MIN: f64 = 0.001;
/// The greatest, but for all.
const TOXICITY_MAX: f64 = 0.999;

/// The default of `toxicity`.
pub(super) fn always() -> f64 {
    1.0
}

/// Declares the parameters of a fault of links: those that all have, and its own.
macro_rules! link_fault {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name<T> {
            /// Whose connections: those that these replicas open, and have.
            pub from: Vec<T>,
            /// To whom.
            pub to: Vec<T>,
            /// Which way: `upstream` is from whoever connected, `downstream` to them.
            #[serde(default)]
            pub stream: crate::link::chain::Direction,
            /// How likely it acts, from 0.001 to 1.
            #[serde(default = "crate::fault::link::always")]
            pub toxicity: f64,
            /// On what: whole connections, as in Toxiproxy, or single requests.
            #[serde(default)]
            pub per: crate::link::chain::Per,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl<T> $name<T> {
            pub(super) fn map_targets<U, E>(
                &self,
                map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
            ) -> Result<$name<U>, E> {
                Ok($name {
                    from: crate::fault::map_list("from", &self.from, map)?,
                    to: crate::fault::map_list("to", &self.to, map)?,
                    stream: self.stream,
                    toxicity: self.toxicity,
                    per: self.per,
                    $($field: self.$field.clone(),)*
                })
            }

            fn link(&self) -> crate::fault::link::OnLink<'_, T> {
                crate::fault::link::OnLink {
                    from: &self.from,
                    to: &self.to,
                    stream: self.stream,
                    toxicity: self.toxicity,
                    per: self.per,
                }
            }
        }
    };
}
pub(super) use link_fault;

/// Where a fault of links acts, and on how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnLink<'a, T> {
    pub from: &'a [T],
    pub to: &'a [T],
    pub stream: Direction,
    pub toxicity: f64,
    pub per: Per,
}

/// A fault of links. Whatever implements it is a [`Fault`].
pub(super) trait LinkFault: Send + Sync {
    /// Where it acts.
    fn on(&self) -> OnLink<'_, Target>;

    /// The toxic that it is; none if the link is taken down.
    fn toxic(&self) -> Option<Kind>;

    /// How that is seen.
    fn sign(&self) -> Sign;

    /// What it does, in words, such as `delay by 50ms`.
    fn words(&self) -> String;

    /// What makes no sense in an experiment, beside what its toxic itself would refuse.
    fn problem(&self) -> Option<Problem> {
        None
    }
}

#[async_trait]
impl<F: LinkFault> Fault for F {
    fn targets(&self) -> Vec<&Target> {
        let on = self.on();
        on.from.iter().chain(on.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn links(&self) -> Option<(&[Target], &[Target])> {
        let on = self.on();
        Some((on.from, on.to))
    }

    fn beyond_toxiproxy(&self) -> Option<Problem> {
        let problem = |path: &str, message: String, hint: &str| {
            Some(Problem {
                path: path.to_owned(),
                message,
                hint: hint.to_owned(),
            })
        };
        match self.toxic() {
            Some(kind) if !TOXIPROXY_TYPES.contains(&kind.name()) => problem(
                "",
                format!("Toxiproxy has no toxic `{}`", kind.name()),
                "leave `links` out, so that nightmail's agents carry the links; Toxiproxy's `timeout` closes what it held back",
            ),
            Some(Kind::Latency(latency)) if latency.distribution != Distribution::Uniform => problem(
                "distribution",
                "Toxiproxy draws delays uniformly and not otherwise".to_owned(),
                "remove it, or leave `links` out, so that nightmail's agents carry the links",
            ),
            _ if self.on().per == Per::Request => problem(
                "per",
                "Toxiproxy's toxicity is a share of connections and not of requests".to_owned(),
                "remove it, or leave `links` out, so that nightmail's agents carry the links",
            ),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        let on = self.on();
        let mut words = format!("{} on links {}", self.words(), network::route(on.from, on.to, false));
        if self.toxic().is_some() {
            let stream = match on.stream {
                Direction::Upstream => "upstream",
                Direction::Downstream => "downstream",
            };
            words = format!("{words} ({stream}{})", share(&on));
        }
        words
    }

    fn problems(&self) -> Vec<Problem> {
        let on = self.on();
        let mut problems = network::problems(on.from, on.to);
        if let Some(wrong) = self.toxic().and_then(|kind| kind.behaviour().problem()) {
            problems.push(Problem {
                path: wrong.attribute.replace('_', "-"),
                message: format!("must be {}", wrong.allowed),
                hint: "see Toxiproxy's documentation of the toxic, or the table in README".to_owned(),
            });
        } else if let Some(problem) = self.problem() {
            problems.push(problem);
        } else {
            problems.extend(toxicity_problem(on.toxicity, &self.sign()));
        }
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        match &context.toxiproxy {
            None => spoil::inject(context, &self.on(), self.toxic(), &self.sign()).await,
            Some(plan) => toxiproxy::inject(context, plan, &self.on(), self.toxic(), &self.sign()).await,
        }
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        match &context.toxiproxy {
            None => spoil::heal(context, &self.on(), &self.sign()).await,
            Some(plan) => toxiproxy::heal(context, plan, &self.on(), self.toxic(), &self.sign()).await,
        }
    }
}

/// `, 1 % of requests`, or nothing if it is all of them.
fn share(on: &OnLink<'_, Target>) -> String {
    if on.toxicity >= 1.0 {
        return String::new();
    }
    let of = match on.per {
        Per::Connection => "connections",
        Per::Request => "requests",
    };
    format!(", {} % of {of}", on.toxicity * 100.0)
}

fn toxicity_problem(toxicity: f64, sign: &Sign) -> Option<Problem> {
    let problem = |message: String, hint: &str| {
        Some(Problem {
            path: "toxicity".to_owned(),
            message,
            hint: hint.to_owned(),
        })
    };
    if toxicity != 1.0 && !(TOXICITY_MIN..=TOXICITY_MAX).contains(&toxicity) {
        return problem(
            format!("must be 1, or from {TOXICITY_MIN} to {TOXICITY_MAX}, is {toxicity}"),
            "a smaller share cannot be shown to bite in good time, and a greater one not to be all; 0.01 is 1 %",
        );
    }
    if toxicity < 1.0 && sign.shows == Shows::Counted {
        return problem(
            format!("must be 1 here, is {toxicity}"),
            "what cannot be told from the ends of a connection cannot be shown to meet a share of them",
        );
    }
    if sign.takes(toxicity) > WITHIN {
        return problem(
            format!(
                "of {toxicity} takes {} s to be shown, which is too long",
                sign.takes(toxicity).as_secs()
            ),
            "choose a smaller share, or 1",
        );
    }
    None
}

/// The problem of a time that is too short to be seen.
pub(super) fn at_least_ms(parameter: &str, time: DurationMs, least_ms: u64) -> Option<Problem> {
    (time.0 < least_ms).then(|| Problem {
        path: parameter.to_owned(),
        message: format!("must be {least_ms}ms or more, is {time}"),
        hint: "a shorter one cannot be told from the machine's own noise".to_owned(),
    })
}
