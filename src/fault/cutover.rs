//! `cutover`: the move to a new server. The data is copied by logical replication, the new server follows the old one, and
//! then, as fast as may be: the old one is closed, what it still had comes over, sequences are set, the new one is opened.
//!
//! Services find the server themselves, as they do after a failover: they know both and take the one that accepts writes. So a
//! server is *closed* by the default that transactions only read, and the end of all sessions that are older. A service that
//! was not told of the new server, or does not look, is a mistake of the system's that this fault brings to light.
//!
//! The heal is the way back, by the same steps: while the new server is in use the old one follows it. With `stays` the move
//! is for good. Neither ends with the harness, nor with a time-to-live: a move that somebody undoes by half makes two servers
//! that accept writes. A move that was not finished is undone by the heal.
//!
//! Whether nothing was left behind is measured, by the number of rows and a checksum of every table on both sides, while
//! nobody can write to either. `skip` leaves out a step, as people do.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, after, ms, nothing_to_heal, receipt};
use super::postgres::Refused;
use super::postgres::each::{self, Member};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::duration::DurationMs;
use crate::plan::{ReplicaId, Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

mod follow;
mod side;
#[cfg(test)]
mod tests;

use follow::Follow;
use side::{Contents, Side, Tables};

const FROM: &str = "from";
const TO: &str = "to";

/// Parameters of `cutover`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cutover<T> {
    /// The old server: one member of a group with roles.
    pub from: Vec<T>,
    /// The new one, with the same tables and nothing in them.
    pub to: Vec<T>,
    /// For how long the new server follows the old one before the switch.
    #[serde(default)]
    pub follow: DurationMs,
    /// The step that is left out.
    #[serde(default)]
    pub skip: Skip,
    /// Whether the move is for good: the heal is not the way back, and only sees whether it still is as it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
}

/// A step that can be left out of a move, each a mistake that was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// The move as it should be.
    #[default]
    Nothing,
    /// The new server has the copy and does not follow: what changes after that does not come along.
    Rows,
    /// Sequences begin anew at the new server.
    Sequences,
    /// The old server stays open, and sessions to it go on.
    Fence,
    /// On the way back, what the new server was given meanwhile stays there.
    RowsBack,
}

impl<T> Cutover<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Cutover<U>, E> {
        Ok(Cutover {
            from: super::map_list(FROM, &self.from, map)?,
            to: super::map_list(TO, &self.to, map)?,
            follow: self.follow,
            skip: self.skip,
            stays: self.stays,
        })
    }
}

/// How far a move has come.
struct Moved {
    is_done: bool,
    /// Whether the new server accepted writes before.
    was_open: bool,
    tables: Tables,
}

/// The two servers, and what is said of them.
struct Way<'a> {
    context: &'a FaultContext,
    old: Side,
    new: Side,
    /// Of the replication from the old to the new, and back.
    names: [String; 2],
    told: Vec<String>,
}

#[async_trait]
impl Fault for Cutover<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Writes)
    }

    fn is_undone(&self) -> bool {
        !self.stays
    }

    fn describe(&self) -> String {
        let (from, to) = (target::names(&self.from), target::names(&self.to));
        let left_out = match self.skip {
            Skip::Nothing => "",
            Skip::Rows => ", without what changes after the copy",
            Skip::Sequences => ", without the sequences",
            Skip::Fence => ", with the old server left open",
            Skip::RowsBack => ", without what changes there when going back",
        };
        let for_good = if self.stays { " for good" } else { "" };
        format!("move the data of {from} to {to}{for_good}{left_out}")
    }

    fn problems(&self) -> Vec<Problem> {
        let one = |list: &str, targets: &[Target]| {
            let count = target::count(targets);
            (count != 1).then(|| Problem {
                path: list.to_owned(),
                message: format!("names {count} servers, and a move has one at either end"),
                hint: "name one member of a group with roles, for example `database-1`".to_owned(),
            })
        };
        let standbys = [(FROM, &self.from), (TO, &self.to)]
            .into_iter()
            .flat_map(|(list, targets)| {
                let standby = |(index, target): (usize, &Target)| match target {
                    Target::Role {
                        group,
                        role: Role::Standby,
                        ..
                    } => Some(Problem {
                        path: format!("{list}[{index}]"),
                        message: format!("is the standby of `{group}`, which has no data of its own"),
                        hint: format!("write `{group}:primary`, or name a member"),
                    }),
                    _ => None,
                };
                targets.iter().enumerate().filter_map(standby).collect::<Vec<_>>()
            });
        let no_way_back = (self.stays && self.skip == Skip::RowsBack).then(|| Problem {
            path: "skip".to_owned(),
            message: "leaves out a part of the way back, and with `stays` there is none".to_owned(),
            hint: "leave out `stays`, or skip something else".to_owned(),
        });
        let ends = one(FROM, &self.from).into_iter().chain(one(TO, &self.to));
        let overlaps = target::overlaps(&self.from, &self.to);
        ends.chain(standbys).chain(no_way_back).chain(overlaps).collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        let mut found = each::roleless_of(definition, FROM, &self.from);
        found.extend(each::roleless_of(definition, TO, &self.to));
        found
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let (from, to) = (resolve(context, &self.from).await?, resolve(context, &self.to).await?);
        let mut way = Way::between(context, &from, &to)?;
        let prepared = self.prepare(&mut way).await;
        let (onset, last) = match prepared {
            Ok((tables, was_open)) => {
                // From here on the heal has something to undo.
                context.acted.remember(FROM, std::slice::from_ref(&from));
                context.acted.remember(TO, std::slice::from_ref(&to));
                let gone = self.go(&mut way, &tables).await;
                let (is_done, onset) = (gone.is_ok(), Some(start.elapsed()));
                let moved = Moved {
                    is_done,
                    was_open,
                    tables,
                };
                context.acted.hold(&from, Box::new(moved));
                // Customers are served by now, and do not wait for it.
                let ended = way.there().end().await;
                match gone.and_then(|shut| ended.map(|()| shut)) {
                    Ok(shut) => (onset, format!("{to}: a fresh session writes{}; {shut}", after(onset))),
                    Err(refused) => (None, refused.to_string()),
                }
            }
            Err(refused) => (None, format!("before, {refused}; nothing was done")),
        };
        way.told.push(last);
        let evidence = way.told;
        Ok(receipt(&[from, to], vec![Measured { onset, evidence }]))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let (from, to) = (context.acted.list(FROM), context.acted.list(TO));
        let ([from], [to]) = (&from[..], &to[..]) else {
            return Ok(nothing_to_heal());
        };
        let mut way = Way::between(context, from, to)?;
        let moved = context
            .acted
            .let_go(from)
            .and_then(|held| held.downcast::<Moved>().ok());
        let (lapsed, healed) = match moved {
            Some(moved) if moved.is_done && self.stays => (false, self.look(&way).await),
            Some(moved) if moved.is_done => {
                let lapsed = way.has_lapsed().await;
                let healed = self.back(&mut way, &moved.tables).await;
                if healed.is_err() && way.old.is_closed().await.is_ok() {
                    // Whoever tries again goes the same way.
                    context.acted.hold(from, moved);
                }
                (lapsed, healed)
            }
            // What was begun and not finished, or is held by nobody.
            moved => (false, way.abandon(moved.is_some_and(|moved| moved.was_open)).await),
        };
        let onset = healed.is_ok().then(|| start.elapsed());
        way.told.push(match healed {
            Ok(seen) => format!("{seen}{}", after(onset)),
            Err(refused) => refused.to_string(),
        });
        let evidence = way.told;
        let receipt = receipt(&[from.clone(), to.clone()], vec![Measured { onset, evidence }]);
        Ok(Receipt { lapsed, ..receipt })
    }
}

async fn resolve(context: &FaultContext, targets: &[Target]) -> Result<ReplicaId, FaultError> {
    let mut found = target::resolve(&*context.system, targets).await?;
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (one, _) => Err(FaultError::Unfit {
            replica: one.map_or_else(|| target::names(targets), |one| one.to_string()),
            reason: "a move has one server at either end".to_owned(),
        }),
    }
}

impl Cutover<Target> {
    /// Looks whether there is anything to move and a place for it. The tables, and whether the new server is open.
    async fn prepare(&self, way: &mut Way<'_>) -> Result<(Tables, bool), Refused> {
        let Way { old, new, .. } = way;
        old.fits(true).await?;
        new.fits(self.follows_back()).await?;
        old.is_open().await?;
        let was_open = new.is_closed().await.is_err();
        let (tables, missing) = old.tables().await?.with(&new.tables().await?);
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(new.because(format!("it lacks tables that {} has: {missing}", old.id())));
        }
        if tables.0.is_empty() {
            return Err(old.because("it has no tables"));
        }
        let keyless = old.keyless().await?;
        if !keyless.is_empty() {
            let keyless = keyless.join(", ");
            return Err(old.because(format!(
                "rows of {keyless} have no primary key, and could not be changed while another server follows"
            )));
        }
        let there = new.contents(&tables).await?;
        let filled = there.filled();
        if !filled.is_empty() {
            return Err(new.because(format!("there are rows already in {}", filled.join(", "))));
        }
        Ok((tables, was_open))
    }

    /// The move. How long nobody could write.
    async fn go(&self, way: &mut Way<'_>, tables: &Tables) -> Result<String, Refused> {
        let begun = Instant::now();
        way.new.close().await?;
        way.there().begin(tables, true).await?;
        way.there().copied(way.context.patience.ready).await?;
        let (copied, count) = (begun.elapsed(), tables.0.len());
        way.tell_new(format!("{count} tables copied within {}", ms(copied)));
        if self.skip == Skip::Rows {
            way.there().end().await?;
        }
        sleep(self.follow.as_duration()).await;
        let shut = Instant::now();
        if self.skip != Skip::Fence {
            let ended = way.old.close().await?;
            way.tell_old(format!(
                "a fresh session's write is refused (25006), {ended} sessions from before are gone"
            ));
        }
        self.compare(way, tables, self.skip == Skip::Rows).await?;
        self.sequences(way).await?;
        if self.follows_back() {
            way.back().begin(tables, false).await?;
        }
        way.new.open().await?;
        Ok(match self.skip {
            Skip::Fence => format!("{} was never closed", way.old.id()),
            _ => format!("for {} nobody could write to either", ms(shut.elapsed())),
        })
    }

    /// Whether the old server follows the new one, so that there is a way back on which nothing is lost.
    fn follows_back(&self) -> bool {
        !self.stays && !matches!(self.skip, Skip::RowsBack | Skip::Fence)
    }

    /// Waits until both have the same rows, unless that cannot be: then it is said how they differ.
    async fn compare(&self, way: &mut Way<'_>, tables: &Tables, may_differ: bool) -> Result<(), Refused> {
        if self.skip == Skip::Fence {
            way.tell_old("its rows are not compared, since they still change".to_owned());
            return Ok(());
        }
        let (old, new) = (&way.old, &way.new);
        let differ = |old: &Contents, new: &Contents| {
            let differences = old.differences(new);
            differences.map(|words| format!("rows there and at {}: {words}", way.new.id()))
        };
        let limit = if may_differ {
            Duration::ZERO
        } else {
            way.context.patience.ready
        };
        let same = each::until(limit, async || {
            let (old, new) = tokio::try_join!(old.contents(tables), new.contents(tables))?;
            match differ(&old, &new) {
                None => Ok(old.rows()),
                Some(words) => Err(way.old.because(words)),
            }
        });
        let same = same.await;
        match same {
            Ok(rows) => {
                let count = tables.0.len();
                way.tell_old(format!(
                    "{rows} rows in {count} tables, as many and with the same checksums at {}",
                    way.new.id()
                ));
                Ok(())
            }
            Err(words) if may_differ => {
                way.told.push(words.to_string());
                Ok(())
            }
            Err(words) => Err(words),
        }
    }

    async fn sequences(&self, way: &mut Way<'_>) -> Result<(), Refused> {
        let sequences = way.old.sequences().await?;
        if self.skip == Skip::Sequences {
            let there = side::words(&way.new.sequences().await?);
            let here = side::words(&sequences);
            way.tell_old(format!("{here}; at {}, {there}", way.new.id()));
            return Ok(());
        }
        way.new.set(&sequences).await?;
        way.tell_new(format!("sequences go on: {}", side::words(&sequences)));
        Ok(())
    }

    /// Whether it still is as the move left it.
    async fn look(&self, way: &Way<'_>) -> Result<String, Refused> {
        way.new.is_open().await?;
        let new = way.new.id();
        if self.skip == Skip::Fence {
            return Ok(format!("{new}: nothing is undone; a fresh session still writes"));
        }
        way.old.is_closed().await?;
        Ok(format!(
            "{new}: nothing is undone; a fresh session still writes, and is refused by {} (25006)",
            way.old.id()
        ))
    }

    /// The way back. Whatever goes wrong on it, the old server is opened, unless the new one is still open: there must not be
    /// two.
    async fn back(&self, way: &mut Way<'_>, tables: &Tables) -> Result<String, Refused> {
        let shut = Instant::now();
        let carried = async {
            let ended = way.new.close().await?;
            way.tell_new(format!(
                "a fresh session's write is refused (25006), {ended} sessions from before are gone"
            ));
            if self.follows_back() {
                way.back().caught_up(way.context.patience.ready).await?;
            }
            // What did not come along was not at the new server, and what was not carried back is there still.
            let may_differ = matches!(self.skip, Skip::Rows | Skip::RowsBack);
            self.compare(way, tables, may_differ).await?;
            if self.follows_back() {
                let sequences = side::furthest(way.new.sequences().await?, way.old.sequences().await?);
                way.old.set(&sequences).await?;
            }
            way.back().end().await
        };
        let carried = carried.await;
        if let Err(refused) = &carried
            && way.new.is_open().await.is_ok()
        {
            let old = way.old.id();
            return Err(way
                .new
                .because(format!("still open, so that {old} stays closed: {refused}")));
        }
        way.old.open().await?;
        carried?;
        Ok(format!(
            "{}: a fresh session writes; for {} nobody could write to either",
            way.old.id(),
            ms(shut.elapsed())
        ))
    }
}

impl<'a> Way<'a> {
    fn between(context: &'a FaultContext, from: &ReplicaId, to: &ReplicaId) -> Result<Self, FaultError> {
        Ok(Self {
            context,
            old: Side::new(context, Member::of(context, from)?),
            new: Side::new(context, Member::of(context, to)?),
            names: ["there", "back"].map(|way| format!("nightmail_{way}_{}", context.id)),
            told: Vec::new(),
        })
    }

    /// The new server follows the old one.
    fn there(&self) -> Follow<'_> {
        Follow {
            name: &self.names[0],
            publisher: &self.old,
            subscriber: &self.new,
        }
    }

    /// The old server follows the new one.
    fn back(&self) -> Follow<'_> {
        Follow {
            name: &self.names[1],
            publisher: &self.new,
            subscriber: &self.old,
        }
    }

    fn tell_old(&mut self, words: String) {
        self.told.push(format!("{}: {words}", self.old.id()));
    }

    fn tell_new(&mut self, words: String) {
        self.told.push(format!("{}: {words}", self.new.id()));
    }

    /// Whether the new server was closed by somebody else.
    async fn has_lapsed(&mut self) -> bool {
        match self.new.is_open().await {
            Ok(()) => false,
            Err(refused) => {
                self.told.push(format!("before the heal, {refused}"));
                true
            }
        }
    }

    /// Undoes what was begun: nobody follows anybody, and who was open is open.
    async fn abandon(&mut self, was_open: bool) -> Result<String, Refused> {
        let mut ended = vec![self.there().end().await, self.back().end().await];
        // It may be that the new server was about to be opened: there must not be two.
        ended.push(match was_open {
            false => self.new.close().await.map(drop),
            true => Ok(()),
        });
        self.old.open().await?;
        if was_open {
            self.new.open().await?;
        }
        ended.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(format!(
            "{}: the move is given up, a fresh session writes",
            self.old.id()
        ))
    }
}
