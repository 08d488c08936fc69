//! Set-up: the requests made once, in order, after the system is up and before the load.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use minijinja::value::Value;

use super::client::{Addresses, Client};
use super::expression::Expression;
use super::template::{Request, Variables, variable_name};
use super::values::pool_values;
use super::{Problem, WorkloadError};
use crate::system::definition::{SetupStep, SystemDefinition};

/// Requests of one step that run at once.
const CONCURRENT: usize = 16;

/// A system that has just become ready may still answer badly for a while; after this long it is no hiccup.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts of a request.
const PAUSE: Duration = Duration::from_millis(100);

/// A set-up step, compiled.
#[derive(Debug)]
pub(super) struct Step {
    name: String,
    request: Request,
    expect: Expression,
    repeat: Option<Repeat>,
    every_replica: bool,
}

#[derive(Debug)]
struct Repeat {
    variable: String,
    values: Vec<String>,
}

/// Makes every request of `setup`. A step begins when the one before has succeeded for all its values. Requests are
/// repeated until they give what is expected, for ten seconds each, so they must bear repetition.
pub async fn run(system: &SystemDefinition, addresses: &Addresses) -> Result<(), WorkloadError> {
    run_patiently(system, addresses, PATIENCE).await
}

pub(super) async fn run_patiently(
    system: &SystemDefinition,
    addresses: &Addresses,
    patience: Duration,
) -> Result<(), WorkloadError> {
    let client = Client::new(addresses);
    let mut steps = Vec::with_capacity(system.setup.len());
    for position in 0..system.setup.len() {
        let step = Step::compile(system, position).map_err(WorkloadError::Definition)?;
        client.require(&step.request.service)?;
        steps.push(step);
    }
    for step in &steps {
        step.run(&client, patience).await?;
    }
    Ok(())
}

impl Step {
    /// Compiles the step at `position`.
    pub(super) fn compile(system: &SystemDefinition, position: usize) -> Result<Self, Problem> {
        let SetupStep {
            name,
            for_each,
            every_replica,
            request,
            expect,
        } = &system.setup[position];
        let at = format!("setup[{position}]");
        let repeat = match for_each {
            None => None,
            Some(pool) => {
                let Some(values) = system.pools.get(pool) else {
                    let known: Vec<_> = system.pools.keys().map(|known| format!("`{known}`")).collect();
                    return Err(Problem::new(
                        format!("{at}.for-each"),
                        format!("unknown pool `{pool}`; known are {}", known.join(", ")),
                    ));
                };
                Some(Repeat {
                    variable: variable_name(pool),
                    values: pool_values(values),
                })
            }
        };
        let known: Vec<_> = repeat.iter().map(|repeat| repeat.variable.clone()).collect();
        let expect = Expression::compile(expect);
        Ok(Self {
            name: name.clone(),
            request: Request::compile(request, &format!("{at}.request"), &known)?,
            expect: expect.map_err(|mistake| Problem::new(format!("{at}.expect"), mistake.message))?,
            repeat,
            every_replica: *every_replica,
        })
    }

    /// A request for each value, and for each replica if so wanted, in no order.
    async fn run(&self, client: &Client, patience: Duration) -> Result<(), WorkloadError> {
        let values: Vec<Option<&str>> = match &self.repeat {
            None => vec![None],
            Some(repeat) => repeat.values.iter().map(|value| Some(value.as_str())).collect(),
        };
        let replicas: Vec<Option<u32>> = match self.every_replica {
            false => vec![None],
            true => client.numbers(&self.request.service).map(Some).collect(),
        };
        let each = values
            .into_iter()
            .flat_map(|value| replicas.iter().map(move |replica| (value, *replica)));
        stream::iter(each.map(|(value, replica)| self.request_once(client, value, replica, patience)))
            .buffer_unordered(CONCURRENT)
            .try_collect::<()>()
            .await
    }

    /// The step, and what sets this request apart from its others.
    fn name_of(&self, value: Option<&str>, replica: Option<u32>) -> String {
        let replica = replica.map(|number| format!("replica {number}"));
        let parts: Vec<&str> = value.into_iter().chain(replica.as_deref()).collect();
        match parts.is_empty() {
            true => self.name.clone(),
            false => format!("{} ({})", self.name, parts.join(", ")),
        }
    }

    async fn request_once(
        &self,
        client: &Client,
        value: Option<&str>,
        replica: Option<u32>,
        patience: Duration,
    ) -> Result<(), WorkloadError> {
        let failed = |attempts, reason| WorkloadError::Setup {
            step: self.name_of(value, replica),
            attempts,
            reason,
        };
        let variable = self.repeat.iter().map(|repeat| repeat.variable.clone());
        let variables: Variables = variable.zip(value.map(Value::from)).collect();
        let rendered = self.request.render(variables).map_err(|message| failed(0, message))?;
        let replica = replica.or(rendered.replica);
        let started = Instant::now();
        let turn = client.turn(&self.request.service, self.request.port, replica);
        let turn = turn.map_err(|message| failed(0, message))?;
        let mut attempts = 0;
        loop {
            let address = turn.address(attempts);
            attempts += 1;
            let answer = client.attempt(address, &rendered, self.request.timeout).await;
            let reason = match answer {
                Err(broken) => format!("{} at {address}", broken.error),
                Ok(answer) => match self.expect.holds(&answer) {
                    Ok(true) => return Ok(()),
                    Ok(false) => format!("status {}: {}", answer.status, answer.excerpt()),
                    Err(message) => format!("`expect` {message}; status {}: {}", answer.status, answer.excerpt()),
                },
            };
            if started.elapsed() + PAUSE > patience {
                return Err(failed(attempts, reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
