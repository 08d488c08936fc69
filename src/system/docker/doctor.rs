//! What a run needs of Docker, checked one by one.

use super::{Client, connect_client, gc, labels, network, sweep};
use crate::system::doctor::Check;
use crate::system::owner::Owner;

/// Checks Docker; what any engine needs of this machine is [`crate::system::doctor::of_this_machine`]'s.
pub async fn doctor() -> Vec<Check> {
    let mut checks = Vec::new();
    match connect_client().await {
        Ok(client) => {
            checks.push(Check::new("Docker", true, version(&client).await, "start Docker"));
            checks.push(Check::new(
                "network with fixed addresses",
                true,
                make_a_network(&client).await,
                "nightmail makes bridge networks in 10.64.0.0/10 and above; see whether Docker may",
            ));
            checks.push(Check::new(
                "left over from dead runs",
                false,
                left_over(&client).await,
                "nightmail gc",
            ));
        }
        Err(error) => checks.push(Check::new(
            "Docker",
            true,
            Err(error.to_string()),
            "start Docker, or say with DOCKER_HOST where it listens",
        )),
    }
    checks
}

async fn version(client: &Client) -> Result<String, String> {
    let version = client.version().await.map_err(|error| labels::words(&error))?;
    let part = |part: Option<String>| part.unwrap_or_else(|| "unknown".to_owned());
    Ok(format!(
        "{}, interface {}, {}",
        part(version.version),
        part(version.api_version),
        part(version.os)
    ))
}

async fn make_a_network(client: &Client) -> Result<String, String> {
    let run_id = format!("doctor-{}", std::process::id());
    let made = network::create(client, &run_id, &Owner::me().to_string()).await;
    let left = sweep::run(client, &run_id).await;
    let network = made.map_err(|error| error.to_string())?;
    match left.is_empty() {
        true => Ok(format!("made and removed, gateway {}", network.gateway())),
        false => Err(format!("made but not removed: {}", left.join(", "))),
    }
}

async fn left_over(client: &Client) -> Result<String, String> {
    let (alive, dead) = gc::count(client).await.map_err(|error| labels::words(&error))?;
    match dead {
        0 => Ok(format!("nothing; {alive} alive or not to be judged from here")),
        dead => Err(format!("{dead} dead")),
    }
}
