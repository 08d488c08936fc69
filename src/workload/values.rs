//! Values that requests are filled with: pools and draws, the same for the same seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Problem;
use super::client::ReplicaCounts;
use super::schedule::random_stream;
use crate::history;
use crate::system::definition::{Pool, ValueSource};

/// The values of a pool, in order.
pub fn pool_values(pool: &Pool) -> Vec<String> {
    match pool {
        Pool::Sequence { prefix, count } => (1..=*count).map(|number| format!("{prefix}{number}")).collect(),
        Pool::List(values) => values.clone(),
    }
}

/// Draws the template variables of one operation. Every arrival draws, so that what is drawn for the n-th depends on
/// the seed alone.
#[derive(Debug)]
pub struct Draws {
    random: ChaCha8Rng,
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    OneOf(Arc<[String]>),
    Cycle { values: Arc<[String]>, next: usize },
    Range { min: i64, max: i64 },
    ReplicaOf { count: u32 },
    Constant(serde_json::Value),
}

impl Draws {
    /// Prepares the draws of `operation`, in the order of `values`.
    pub fn compile(
        operation: &str,
        values: &BTreeMap<String, ValueSource>,
        pools: &BTreeMap<String, Pool>,
        replicas: &ReplicaCounts,
        seed: u64,
    ) -> Result<Self, Problem> {
        let sources = values.iter().map(|(name, source)| {
            Source::compile(source, pools, replicas)
                .map_err(|message| Problem::new(format!("operations.{operation}.values.{name}"), message))
        });
        Ok(Self {
            random: random_stream(seed, &format!("values of {operation}")),
            sources: sources.collect::<Result<_, _>>()?,
        })
    }

    /// The values of the next arrival, in the order of the definition.
    pub fn draw(&mut self) -> Vec<serde_json::Value> {
        let random = &mut self.random;
        self.sources.iter_mut().map(|source| source.draw(random)).collect()
    }
}

impl Source {
    fn compile(source: &ValueSource, pools: &BTreeMap<String, Pool>, replicas: &ReplicaCounts) -> Result<Self, String> {
        let values = |name: &String| -> Result<Arc<[String]>, String> {
            let Some(pool) = pools.get(name) else {
                let known: Vec<_> = pools.keys().map(|known| format!("`{known}`")).collect();
                return Err(format!("unknown pool `{name}`; known are {}", known.join(", ")));
            };
            match pool_values(pool) {
                values if values.is_empty() => Err(format!("the pool `{name}` is empty")),
                values => Ok(values.into()),
            }
        };
        Ok(match source {
            ValueSource::OneOf(pool) => Self::OneOf(values(pool)?),
            ValueSource::Cycle(pool) => Self::Cycle {
                values: values(pool)?,
                next: 0,
            },
            ValueSource::Range { min, max } if min > max => {
                return Err(format!("the range has `min` {min} above `max` {max}"));
            }
            ValueSource::Range { min, max } => Self::Range { min: *min, max: *max },
            ValueSource::ReplicaOf(service) => match replicas.get(service) {
                Some(&count) if count > 0 => Self::ReplicaOf { count },
                Some(_) => return Err(format!("the service `{service}` has no replica")),
                None => {
                    let known: Vec<_> = replicas.keys().map(|known| format!("`{known}`")).collect();
                    return Err(format!("unknown service `{service}`; known are {}", known.join(", ")));
                }
            },
            ValueSource::Constant(value) => Self::Constant(value.clone()),
        })
    }

    fn draw(&mut self, random: &mut ChaCha8Rng) -> serde_json::Value {
        match self {
            // Drawn as u64: what a usize draws depends on the machine.
            Self::OneOf(values) => values[random.random_range(0..values.len() as u64) as usize]
                .as_str()
                .into(),
            Self::Cycle { values, next } => {
                let value = values[*next].as_str().into();
                *next = (*next + 1) % values.len();
                value
            }
            Self::Range { min, max } => random.random_range(*min..=*max).into(),
            Self::ReplicaOf { count } => random.random_range(1..=*count).into(),
            Self::Constant(value) => value.clone(),
        }
    }
}

/// A JSON value as the history keeps it; lists and objects are none of its values.
pub fn plain(value: &serde_json::Value) -> Option<history::Value<'_>> {
    Some(match value {
        serde_json::Value::Null => history::Value::Null,
        serde_json::Value::Bool(flag) => history::Value::Bool(*flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(int) => history::Value::Int(int),
            None => history::Value::Float(number.as_f64()?),
        },
        serde_json::Value::String(text) => history::Value::Text(text.into()),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shop() -> ReplicaCounts {
        ReplicaCounts::from([("empty".to_owned(), 0), ("shop".to_owned(), 3)])
    }

    fn draws(seed: u64) -> Draws {
        let values = serde_json::from_value(json!({
            "account": {"one-of": "accounts"},
            "amount": {"range": {"min": -2, "max": 2}},
            "printer": {"cycle": "printers"},
            "rush": {"constant": true},
            "till": {"replica-of": "shop"}
        }))
        .unwrap();
        let pools = serde_json::from_value(json!({
            "accounts": {"sequence": {"prefix": "acct-", "count": 3}},
            "printers": {"list": ["north", "south"]}
        }))
        .unwrap();
        Draws::compile("buy", &values, &pools, &shop(), seed).unwrap()
    }

    #[test]
    fn the_seed_fixes_every_draw() {
        let take = |seed| {
            let mut draws = draws(seed);
            (0..200).map(|_| draws.draw()).collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn draws_cover_their_source_and_nothing_else() {
        let mut draws = draws(1);
        let (mut accounts, mut amounts, mut printers) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut tills = BTreeMap::new();
        for _ in 0..1_000 {
            let drawn = draws.draw();
            *accounts.entry(drawn[0].as_str().unwrap().to_owned()).or_insert(0) += 1;
            *amounts.entry(drawn[1].as_i64().unwrap()).or_insert(0) += 1;
            printers.push(drawn[2].as_str().unwrap().to_owned());
            assert_eq!(drawn[3], json!(true));
            *tills.entry(drawn[4].as_u64().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(accounts.keys().collect::<Vec<_>>(), ["acct-1", "acct-2", "acct-3"]);
        assert_eq!(amounts.keys().copied().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!(tills.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        // A thousand draws from three: each within five standard deviations of a third.
        let is_third = |count: &i32| (259..=408).contains(count);
        assert!(accounts.values().all(is_third), "{accounts:?}");
        assert!(tills.values().all(is_third), "{tills:?}");
        assert!(printers.chunks(2).all(|pair| pair == ["north", "south"]));
    }

    #[test]
    fn sources_that_give_nothing_are_errors() {
        let pools = serde_json::from_value(json!({"none": {"list": []}})).unwrap();
        for (source, message) in [
            (json!({"one-of": "nobody"}), "unknown pool `nobody`"),
            (json!({"cycle": "none"}), "is empty"),
            (json!({"range": {"min": 2, "max": 1}}), "above `max`"),
            (
                json!({"replica-of": "nobody"}),
                "unknown service `nobody`; known are `empty`, `shop`",
            ),
            (json!({"replica-of": "empty"}), "has no replica"),
        ] {
            let values = BTreeMap::from([("it".to_owned(), serde_json::from_value(source).unwrap())]);
            let problem = Draws::compile("buy", &values, &pools, &shop(), 1).unwrap_err();
            assert_eq!(problem.at, "operations.buy.values.it");
            assert!(problem.message.contains(message), "{}", problem.message);
        }
    }
}
