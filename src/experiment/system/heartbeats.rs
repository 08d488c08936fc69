//! Heartbeats: whom they go to, and how often.

use super::Checker;
use crate::diagnostic::list;
use crate::history::Heartbeat;
use crate::yaml::place::Place;

impl Checker<'_> {
    pub(super) fn heartbeats(&mut self, place: &Place) {
        let definition = self.definition;
        for (name, heartbeat) in &definition.heartbeats {
            let place = place.key(name);
            self.group_with_roles(&place, name, true);
            let cannot = match heartbeat.every.0 {
                ..10 => Some("heartbeats cannot be written that often"),
                10..=50 => None,
                _ => Some("heartbeats that are so rare do not show when there were two writers"),
            };
            if let Some(message) = cannot {
                self.found.push(
                    self.document
                        .at_value(&place.key("every"), message)
                        .allowed("10ms to 50ms")
                        .hint("leave it out for one every 50ms"),
                );
            }
            if heartbeat.timeout.0 < 10 {
                self.found.push(
                    self.document
                        .at_value(&place.key("timeout"), "no server answers that soon")
                        .allowed("10ms or more")
                        .hint("leave it out for 1s"),
                );
            }
            let read = Heartbeat::read_of(name);
            if definition.final_reads.contains_key(&read) {
                self.found.push(
                    self.document
                        .at_key(
                            &Place::root().key("final-reads").key(&read),
                            "nightmail itself gives this name to the table of the heartbeats",
                        )
                        .hint("give the final read another name"),
                );
            }
        }
    }

    /// A group whose members can be asked for their roles, named by a key or by a value.
    pub(super) fn group_with_roles(&mut self, place: &Place, name: &str, is_key: bool) {
        let definition = self.definition;
        let Some(group) = definition.groups.get(name) else {
            match is_key {
                true => self.unknown_key(place, "group", name, definition.groups.keys()),
                false => {
                    self.known(place, "group", name, definition.groups.keys());
                }
            }
            return;
        };
        if group.roles.is_none() {
            let message = format!("the members of `{name}` have no roles");
            let diagnostic = match is_key {
                true => self.document.at_key(place, message),
                false => self.document.at_value(place, message),
            };
            let with_roles = definition.groups.iter().filter(|(_, group)| group.roles.is_some());
            self.found.push(
                diagnostic
                    .label("how to connect?")
                    .allowed(format!(
                        "groups with roles: {}",
                        list(with_roles.map(|(name, _)| name.as_str()))
                    ))
                    .hint(format!(
                        "say how to ask them: `groups: {{{name}: {{roles: {{postgres: {{port: 5432, user: ..., database: ...}}}}}}}}`"
                    )),
            );
        }
    }
}
