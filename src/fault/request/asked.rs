//! One replica that is sent requests, and what it is seen to answer.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Uri};
use tokio::time::{Instant, sleep};

use super::{Request, Sent};
use crate::fault::measured::{Measured, ms};
use crate::fault::{FaultContext, FaultError};
use crate::plan::{ReplicaId, Target};
use crate::system::engine::Call;
use crate::workload::client::Client;
use crate::workload::expression::{Answer, Expression};
use crate::workload::{Addresses, Rendered};

/// How long an answer may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a look fails before what may be repeated is sent again.
const LOOKS: u32 = 20;

/// A replica, and what it is to be asked.
pub(super) struct Asked<'a> {
    id: &'a ReplicaId,
    address: SocketAddrV4,
    request: &'a Request<Target>,
    when: Expression,
}

impl<'a> Asked<'a> {
    pub(super) fn of_all(
        context: &FaultContext,
        request: &'a Request<Target>,
        replicas: &'a [ReplicaId],
    ) -> Result<Vec<Self>, FaultError> {
        let asked = |id: &'a ReplicaId| {
            let unfit = |reason: String| FaultError::Unfit {
                replica: id.to_string(),
                reason,
            };
            Ok(Self {
                id,
                address: SocketAddrV4::new(context.system.replica(id)?.address, request.port),
                request,
                when: Expression::compile(&request.seen.when).map_err(|mistake| unfit(mistake.message))?,
            })
        };
        replicas.iter().map(asked).collect()
    }

    /// Sends the request, and looks until it is in force.
    pub(super) async fn send(&self, context: &FaultContext, start: Instant) -> Result<Measured, FaultError> {
        let id = self.id;
        let unseen = |line: String| Ok(Measured::new(None, format!("{id}: {line}")));
        match self.look().await {
            Ok((false, _)) => {}
            Ok((true, said)) => return unseen(format!("was in force before ({said}), nothing was sent")),
            Err(reason) => return unseen(format!("before: {reason}; nothing was sent")),
        }
        if let Some(undo) = &self.request.undo {
            // The end is arranged before the beginning: the harness may be gone a moment later.
            let call = self.call(undo)?;
            context.system.arm_call(context.id, &call, context.ttl).await?;
        }
        Ok(self
            .until(true, &self.request.send, start, context.patience.granted)
            .await)
    }

    /// Sends what takes it back, and looks until it is in force no more; whether it was not before that.
    pub(super) async fn take_back(&self, context: &FaultContext) -> (bool, Measured) {
        let (id, start) = (self.id, Instant::now());
        // Looked at before anything is undone: what is in force no more did not last as long as planned.
        let looked = self.look().await;
        let Some(undo) = &self.request.undo else {
            return (false, self.still(looked, start));
        };
        let ended = looked.ok().filter(|(is_in_force, _)| !is_in_force);
        let mut measured = self.until(false, undo, start, context.patience.ready).await;
        if let Some((_, said)) = &ended {
            let line = format!(
                "{id}: was in force no more before the heal ({said}): its time-to-live had passed, or somebody took it back"
            );
            measured.evidence.insert(0, line);
        }
        (ended.is_some(), measured)
    }

    /// What is said at the end of a request that nothing takes back.
    fn still(&self, looked: Result<(bool, String), String>, start: Instant) -> Measured {
        let id = self.id;
        match looked {
            Ok((true, said)) => Measured::new(
                Some(start.elapsed()),
                format!("{id}: nothing is taken back; still in force ({said})"),
            ),
            Ok((false, said)) => Measured::new(None, format!("{id}: in force no more ({said})")),
            Err(reason) => Measured::new(None, format!("{id}: {reason}")),
        }
    }

    /// Sends a request, and looks until it shows. What may be repeated is repeated: a service in trouble may refuse it at first.
    async fn until(&self, in_force: bool, sent: &Sent, start: Instant, limit: Duration) -> Measured {
        let (id, words) = (self.id, sent.words());
        let told = Instant::now();
        let may_be_repeated = sent.method().is_some_and(|method| method.is_idempotent());
        let mut answered = self.ask(sent).await;
        let mut looks = 0;
        loop {
            let looked = self.look().await;
            if let Ok((is_in_force, said)) = &looked
                && *is_in_force == in_force
            {
                let onset = start.elapsed();
                let line = format!("{id}: {words} was answered by {answered}; {said} after {}", ms(onset));
                return Measured::new(Some(onset), line);
            }
            if told.elapsed() >= limit {
                let said = looked.map_or_else(|reason| reason, |(_, said)| said);
                let line = format!(
                    "{id}: {words} was answered by {answered}; {said}, {} after it was sent",
                    ms(limit)
                );
                return Measured::new(None, line);
            }
            looks += 1;
            if looks % LOOKS == 0 && may_be_repeated {
                answered = self.ask(sent).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether it is in force, and what shows it.
    async fn look(&self) -> Result<(bool, String), String> {
        let seen = &self.request.seen;
        let answer = self.exchange(Method::GET, &seen.path, None).await;
        let answer = answer.map_err(|reason| format!("GET {} was not answered ({reason})", seen.path))?;
        let said = format!("GET {} says {} {}", seen.path, answer.status, answer.excerpt());
        match self.when.holds(&answer) {
            Ok(holds) => Ok((holds, said)),
            Err(reason) => Err(format!("{said}, of which `{}` {reason}", seen.when)),
        }
    }

    /// What a request was answered, in a few words.
    async fn ask(&self, sent: &Sent) -> String {
        let Some(method) = sent.method() else {
            return "nobody, since it has no method".to_owned();
        };
        match self.exchange(method, &sent.path, sent.json.as_ref()).await {
            Ok(answer) => answer.status.to_string(),
            Err(reason) => format!("nothing ({reason})"),
        }
    }

    /// On a connection of its own: one that was kept may have closed with the process that had it.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<Answer, &'static str> {
        let mut headers = HeaderMap::new();
        if json.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = Rendered {
            replica: None,
            method,
            uri: path.parse::<Uri>().map_err(|_| "not a path")?,
            headers,
            body: json.map_or_else(Bytes::new, |json| json.to_string().into()),
        };
        let client = Client::new(&Addresses::new());
        let answer = client.attempt(self.address, &request, ASK_WITHIN).await;
        answer.map_err(|broken| broken.error)
    }

    /// For whoever keeps the deadline.
    fn call(&self, sent: &Sent) -> Result<Call, FaultError> {
        let known = super::METHODS.iter().copied().find(|known| *known == sent.method);
        let method = known.ok_or_else(|| FaultError::Unfit {
            replica: self.id.to_string(),
            reason: format!("`{}` is no method that can be sent", sent.method),
        })?;
        Ok(Call {
            address: self.address.into(),
            method,
            path: sent.path.clone(),
            body: sent.json.as_ref().map_or_else(String::new, without_blanks),
        })
    }
}

/// JSON that holds no blank, not even in a text.
fn without_blanks(json: &serde_json::Value) -> String {
    let mut written = String::new();
    // As it is written, blanks are in texts only.
    for c in json.to_string().chars() {
        match c.is_whitespace() {
            true => written.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => written.push(c),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_without_blanks_says_the_same() {
        let json = json!({"message": "Back\u{2003}soon, we hope.\n", "on": true});
        let written = without_blanks(&json);
        assert_eq!(written.split_whitespace().count(), 1, "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), json);
    }
}
