//! From a target as written, such as `postage-api:one`, to replicas.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha12Rng;

use crate::diagnostic::{did_you_mean, list};
use crate::experiment::SystemUnderTest;
use crate::plan::{ReplicaId, Role, Target};

/// What is wrong with a target.
pub(super) struct BadTarget {
    pub message: String,
    pub allowed: String,
    pub hint: String,
}

/// What a target means, and what it might have meant.
pub(super) struct Choice {
    /// What it means.
    pub target: Target,
    /// Every replica that it might have meant under another seed, or might mean when the fault is injected.
    pub among: Vec<ReplicaId>,
}

impl Choice {
    fn certain(replicas: Vec<ReplicaId>) -> Self {
        Self {
            target: Target::Replicas(replicas.clone()),
            among: replicas,
        }
    }

    /// Whether it could not have meant anything else.
    pub(super) fn is_certain(&self) -> bool {
        matches!(&self.target, Target::Replicas(replicas) if replicas.len() == self.among.len())
    }
}

/// What may follow the colon, of services and groups.
const PICKS: &str = "one, minority, majority, all";

/// Resolves targets of one system.
pub(super) struct Targets<'a> {
    system: &'a SystemUnderTest,
    random: ChaCha12Rng,
    /// Whether a service of several replicas may stand for all of them.
    may_be_all: bool,
}

impl<'a> Targets<'a> {
    /// The choices of one fault: the same for the same seed, whatever other faults choose.
    pub(super) fn new(system: &'a SystemUnderTest, seed: u64, fault: u32, may_be_all: bool) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        random.set_stream(u64::from(fault));
        Self {
            system,
            random,
            may_be_all,
        }
    }

    pub(super) fn resolve(&mut self, text: &str) -> Result<Choice, BadTarget> {
        let (name, pick) = match text.split_once(':') {
            Some((name, pick)) => (name.trim(), Some(pick.trim())),
            None => (text.trim(), None),
        };
        if let Some(count) = self.system.replicas.get(name) {
            return self.pick(text, name, pick, replicas(name, *count));
        }
        if let Some(group) = self.system.definition.groups.get(name) {
            let members: Vec<ReplicaId> = group
                .services
                .iter()
                .flat_map(|service| replicas(service, self.system.replicas.get(service).copied().unwrap_or_default()))
                .collect();
            let role = match pick {
                Some("primary") => Some(Role::Primary),
                Some("standby") => Some(Role::Standby),
                _ => None,
            };
            return match (role, &group.roles) {
                (None, _) => self.pick(text, name, pick, members),
                (Some(role), Some(_)) => Ok(Choice {
                    target: Target::Role {
                        group: name.to_owned(),
                        role,
                        members: members.clone(),
                    },
                    among: members,
                }),
                (Some(_), None) => Err(BadTarget {
                    message: format!("the members of `{name}` have no roles"),
                    allowed: format!("{name}:one, {name}:minority, {name}:majority, {name}:all"),
                    hint: format!("say in system.yaml how to ask for them: `groups: {{{name}: {{roles: ...}}}}`"),
                }),
            };
        }
        if let Some(single) = self.single(name) {
            return match pick {
                None => single.map(|replica| Choice::certain(vec![replica])),
                Some(pick) => Err(BadTarget {
                    message: format!("`{name}` is one replica: `:{pick}` has nothing to choose from"),
                    allowed: name.to_owned(),
                    hint: format!("write `{name}`"),
                }),
            };
        }
        Err(self.unknown(text, name))
    }

    /// `postage-api-2`.
    fn single(&self, name: &str) -> Option<Result<ReplicaId, BadTarget>> {
        let (service, index) = name.rsplit_once('-')?;
        let index: u32 = index.parse().ok()?;
        let count = *self.system.replicas.get(service)?;
        if (1..=count).contains(&index) {
            return Some(Ok(ReplicaId {
                service: service.to_owned(),
                index,
            }));
        }
        Some(Err(BadTarget {
            message: format!("`{name}` matches nothing: `{service}` has {}", plural(count, "replica")),
            allowed: numbered(&replicas(service, count)),
            hint: "replicas are numbered from 1, as Compose does".to_owned(),
        }))
    }

    fn pick(
        &mut self,
        text: &str,
        name: &str,
        pick: Option<&str>,
        mut members: Vec<ReplicaId>,
    ) -> Result<Choice, BadTarget> {
        let count = members.len();
        let nothing = |hint: String| BadTarget {
            message: format!(
                "`{text}` matches nothing: `{name}` has {}",
                plural(count as u32, "replica")
            ),
            allowed: format!("{PICKS}, where they match something"),
            hint,
        };
        let wanted = match pick {
            _ if count == 0 => {
                return Err(nothing(
                    "give the service at least one replica in the Compose file".into(),
                ));
            }
            None if count == 1 || self.may_be_all => count,
            None => {
                let numbered = numbered(&members);
                return Err(BadTarget {
                    message: format!("`{name}` has {count} replicas: say which of them"),
                    allowed: format!("{name}:one, {name}:minority, {name}:majority, {name}:all, or {numbered}"),
                    hint: format!("write `{name}:one` for one of them, chosen by the seed"),
                });
            }
            Some("one") => 1,
            Some("minority") => (count - 1) / 2,
            Some("majority") => count / 2 + 1,
            Some("all") => count,
            Some(role @ ("primary" | "standby")) => {
                return Err(BadTarget {
                    message: format!("`{name}` is a service, and only members of a group can be {role}"),
                    allowed: format!("{name}:one, {name}:minority, {name}:majority, {name}:all"),
                    hint: format!("groups with roles: {}", list(self.groups_with_roles())),
                });
            }
            Some(other) => {
                let known = ["one", "minority", "majority", "all", "primary", "standby"];
                return Err(BadTarget {
                    message: format!("`{other}` is no choice of replicas"),
                    allowed: format!("{PICKS}; of a group with roles also primary, standby"),
                    hint: match did_you_mean(other, known) {
                        _ if other.parse::<u32>().is_ok() => format!("one by its number is written `{name}-{other}`"),
                        Some(meant) => format!("did you mean `{name}:{meant}`?"),
                        None => format!("write for example `{name}:one`"),
                    },
                });
            }
        };
        if wanted == 0 {
            return Err(nothing(format!(
                "fewer than half of {count} is none; write `{name}:one`"
            )));
        }
        if wanted == count {
            return Ok(Choice::certain(members));
        }
        let among = members.clone();
        members.shuffle(&mut self.random);
        members.truncate(wanted);
        members.sort();
        Ok(Choice {
            target: Target::Replicas(members),
            among,
        })
    }

    fn groups_with_roles(&self) -> impl Iterator<Item = &str> {
        let groups = self.system.definition.groups.iter();
        groups
            .filter(|(_, group)| group.roles.is_some())
            .map(|(name, _)| name.as_str())
    }

    fn unknown(&self, text: &str, name: &str) -> BadTarget {
        let services = || self.system.replicas.keys().map(String::as_str);
        let groups = || self.system.definition.groups.keys().map(String::as_str);
        BadTarget {
            message: format!("`{text}` matches nothing: there is no service or group `{name}`"),
            allowed: format!("services: {}; groups: {}", list(services()), list(groups())),
            hint: match did_you_mean(name, services().chain(groups())) {
                Some(meant) => format!("did you mean `{}`?", text.replacen(name, meant, 1)),
                None => format!(
                    "after a name may stand a choice: `service:{}`",
                    PICKS.replace(", ", "|")
                ),
            },
        }
    }
}

fn replicas(service: &str, count: u32) -> Vec<ReplicaId> {
    (1..=count)
        .map(|index| ReplicaId {
            service: service.to_owned(),
            index,
        })
        .collect()
}

fn numbered(replicas: &[ReplicaId]) -> String {
    let names: Vec<String> = replicas.iter().map(ToString::to_string).collect();
    names.join(", ")
}

pub(in crate::experiment) fn plural(count: u32, noun: &str) -> String {
    match count {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
