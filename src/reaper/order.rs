//! What the harness tells the reaper, a line each.

use std::fmt;
use std::time::Duration;

use crate::system::docker::Policy;
use crate::system::engine::{Call, Undo};

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Undo a process fault when its time has come.
    Arm {
        fault: u32,
        undo: Undo,
        container: String,
        holder: String,
        policy: Policy,
        ttl: Duration,
    },
    /// Make a call when its time has come, or when the harness has died.
    Call { fault: u32, call: Call, ttl: Duration },
    /// It was undone.
    Disarm { fault: u32 },
    /// End without touching anything.
    Done,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arm {
                fault,
                undo,
                container,
                holder,
                policy,
                ttl,
            } => {
                let undo = match undo {
                    Undo::Start => "start",
                    Undo::Unpause => "unpause",
                };
                let (policy, ttl_ms) = (policy.word(), ttl.as_millis());
                write!(f, "arm {fault} {undo} {container} {holder} {policy} {ttl_ms}")
            }
            Self::Call { fault, call, ttl } => {
                let Call {
                    address,
                    method,
                    path,
                    body,
                } = call;
                write!(f, "call {fault} {} {address} {method} {path} {body}", ttl.as_millis())
            }
            Self::Disarm { fault } => write!(f, "disarm {fault}"),
            Self::Done => write!(f, "done"),
        }
    }
}

impl Order {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(match words[..] {
            ["arm", fault, undo, container, holder, policy, ttl_ms] => Self::Arm {
                fault: fault.parse().ok()?,
                undo: match undo {
                    "start" => Undo::Start,
                    "unpause" => Undo::Unpause,
                    _ => return None,
                },
                container: container.to_owned(),
                holder: holder.to_owned(),
                policy: Policy::parse(policy)?,
                ttl: Duration::from_millis(ttl_ms.parse().ok()?),
            },
            ["call", fault, ttl_ms, address, method, path, ref body @ ..] if body.len() <= 1 => Self::Call {
                fault: fault.parse().ok()?,
                ttl: Duration::from_millis(ttl_ms.parse().ok()?),
                call: Call {
                    address: address.parse().ok()?,
                    method: ["POST", "PUT", "PATCH", "DELETE"]
                        .into_iter()
                        .find(|known| *known == method)?,
                    path: path.to_owned(),
                    body: body.concat(),
                },
            },
            ["disarm", fault] => Self::Disarm {
                fault: fault.parse().ok()?,
            },
            ["done"] => Self::Done,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_pipe() {
        let orders = [
            Order::Arm {
                fault: 3,
                undo: Undo::Unpause,
                container: "abc".to_owned(),
                holder: "def".to_owned(),
                policy: Policy::parse("on-failure:2").unwrap(),
                ttl: Duration::from_millis(1_500),
            },
            Order::Call {
                fault: 4,
                call: Call {
                    address: "127.0.0.1:8474".parse().unwrap(),
                    method: "POST",
                    path: "/proxies/provider".to_owned(),
                    body: "{\"enabled\":true}".to_owned(),
                },
                ttl: Duration::from_millis(20),
            },
            Order::Call {
                fault: 4,
                call: Call {
                    address: "[::1]:8474".parse().unwrap(),
                    method: "DELETE",
                    path: "/proxies/provider/toxics/fault-4".to_owned(),
                    body: String::new(),
                },
                ttl: Duration::from_millis(20),
            },
            Order::Call {
                fault: 5,
                call: Call {
                    address: "10.64.1.5:8080".parse().unwrap(),
                    method: "PUT",
                    path: "/clock".to_owned(),
                    body: "{\"offset_ms\":0,\"ttl_ms\":1}".to_owned(),
                },
                ttl: Duration::from_millis(20),
            },
            Order::Disarm { fault: 3 },
            Order::Done,
        ];
        for order in orders {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        assert_eq!(Order::parse("arm 1 start"), None);
        // A line cut off by the death of its writer is no order.
        assert_eq!(Order::parse("don"), None);
    }
}
