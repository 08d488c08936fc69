//! Keys of the Compose format that nightmail knows and does not support, and what to do instead.

/// Why a key is not supported, and what to do.
pub(super) fn advice(key: &str) -> Option<&'static str> {
    Some(match key {
        "extends" | "include" => "write the service out here, or share parts of it with a YAML anchor and `<<`",
        "configs" | "secrets" => "mount a file with `volumes`, or pass the value with `environment`",
        "profiles" => "every service of the file is started; put services that are not wanted into another file",
        "privileged" => "a system under test gets no rights over the host; name single capabilities with `cap_add`",
        "devices" | "device_cgroup_rules" | "gpus" => "a system under test gets no devices of the host",
        "network_mode" | "links" | "external_links" | "mac_address" => {
            "every replica is on the run's own network, where it finds the others by their service names"
        }
        "pid" | "ipc" | "uts" | "userns_mode" | "cgroup" | "cgroup_parent" => {
            "replicas share no namespaces with the host or with each other"
        }
        "scale" => "write `deploy: {replicas: N}`",
        "external" => "a run makes its own networks and volumes, so that runs do not meet",
        "ipam" | "ipv4_address" | "ipv6_address" | "enable_ipv6" | "link_local_ips" => {
            "a run picks a free subnet and fixed addresses by itself, so that runs do not meet"
        }
        "driver_opts" | "attachable" => "networks and volumes are plain local ones",
        "mem_limit" | "mem_reservation" | "memswap_limit" | "cpus" | "cpu_shares" | "cpuset" | "pids_limit" => {
            "limits on memory and processors are not supported yet; leave them out"
        }
        "resources" | "restart_policy" | "placement" | "update_config" | "rollback_config" | "mode"
        | "endpoint_mode" => "of `deploy`, only `replicas` is supported; for restarts use the service's own `restart`",
        "extra_hosts" | "dns" | "dns_search" | "dns_opt" => {
            "names are answered by the run's network; give a service another name with `networks: {default: {aliases: [...]}}`"
        }
        "logging" => "nightmail keeps the log of every replica itself",
        "develop" | "watch" | "post_start" | "pre_stop" | "attach" | "pull_policy" | "platform" | "runtime" => {
            "leave it out: it has no meaning in a run"
        }
        "secret" | "ssh" | "cache_from" | "cache_to" | "dockerfile_inline" | "additional_contexts" | "network" => {
            "of `build`, only `context`, `dockerfile`, `args` and `target` are supported"
        }
        "required" | "restart" => "of a dependency, only `condition` is supported",
        "stdin_open" | "tty" => "nobody types into a replica",
        "group_add" | "oom_score_adj" | "oom_kill_disable" | "blkio_config" | "storage_opt" | "isolation"
        | "domainname" | "volumes_from" | "annotations" | "credential_spec" | "models" | "provider" => {
            "it is not supported yet; leave it out"
        }
        _ => return None,
    })
}
