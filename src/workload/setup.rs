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
        })
    }

    async fn run(&self, client: &Client, patience: Duration) -> Result<(), WorkloadError> {
        let Some(repeat) = &self.repeat else {
            return self.request_once(client, &self.name, Variables::new(), patience).await;
        };
        let requests = repeat.values.iter().map(|value| {
            let variables = Variables::from([(repeat.variable.clone(), Value::from(value.as_str()))]);
            async move {
                let name = format!("{} ({value})", self.name);
                self.request_once(client, &name, variables, patience).await
            }
        });
        stream::iter(requests)
            .buffer_unordered(CONCURRENT)
            .try_collect::<()>()
            .await
    }

    async fn request_once(
        &self,
        client: &Client,
        name: &str,
        variables: Variables,
        patience: Duration,
    ) -> Result<(), WorkloadError> {
        let failed = |attempts, reason| WorkloadError::Setup {
            step: name.to_owned(),
            attempts,
            reason,
        };
        let rendered = self.request.render(variables).map_err(|message| failed(0, message))?;
        let started = Instant::now();
        let Some(turn) = client.turn(&self.request.service, self.request.port) else {
            return Err(failed(0, "no replica".to_owned()));
        };
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
