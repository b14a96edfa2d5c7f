//! Sentinel, Cluster, TLS.

use std::collections::BTreeSet;

use super::*;

#[path = "../../../../../common/tests/support/authority.rs"]
mod authority;

/// Of a Sentinel there is only what its file says.
async fn sentinel(primary: &Server) -> Server {
    let mut sentinel = Server::prepared(&["--sentinel"]);
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        sentinel.port,
        sentinel.dir().display(),
        primary.port
    );
    std::fs::write(sentinel.dir().join("sentinel.conf"), text).unwrap();
    sentinel.again().await;
    sentinel
}

#[tokio::test]
async fn a_failover_that_lost_nothing_resets_nobody() {
    let mut primary = Server::start(&[]).await;
    let replica = Server::start(&[
        "--replicaof",
        "127.0.0.1",
        &primary.port.to_string(),
        "--repl-diskless-sync-delay",
        "0",
    ])
    .await;
    let sentinel = sentinel(&primary).await;
    replica.until(&["INFO", "replication"], |said| said.contains("master_link_status:up")).await;
    sentinel.until(&["SENTINEL", "REPLICAS", "main"], |said| said.contains(&replica.port.to_string())).await;
    let url = format!("redis+sentinel://{}/main", sentinel.address());
    let node = node(&url, "a").await;
    let first = node.push("r", "1").await;
    node.push("r", "2").await;
    let offset = |said: &str| {
        let rest = said.split("master_repl_offset:").nth(1)?;
        rest.lines().next()?.trim().parse::<u64>().ok()
    };
    let reached = offset(&primary.ask(&["INFO", "replication"]).await);
    replica.until(&["INFO", "replication"], |said| offset(said) >= reached).await;
    primary.kill();
    node.is_away("").await;
    node.is_well().await;
    assert_eq!(node.push("r", "3").await, Position { offset: 3, ..first });
    let page = node.read_from("r", first).await;
    assert!(page.continues);
    assert_eq!(bodies(&page), ["2", "3"]);
    let unknown = settings(&format!("redis+sentinel://{}/other", sentinel.address())).try_out().await;
    assert!(unknown.unwrap_err().contains("knows no service \"other\""));
}

/// Three servers that are one Cluster.
async fn cluster(args: &[&str]) -> Vec<Server> {
    let base = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1000",
        "--cluster-require-full-coverage",
        "no",
    ];
    let mut servers = Vec::new();
    for (at, slots) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate() {
        let server = Server::start(&[&base[..], args].concat()).await;
        server.ask(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await;
        server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await;
        servers.push(server);
    }
    for server in &servers[1..] {
        servers[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string()]).await;
    }
    for server in &servers {
        server
            .until(&["CLUSTER", "INFO"], |said| {
                said.contains("state:ok") && said.contains("nodes:3") && said.contains("slots_assigned:16384")
            })
            .await;
    }
    servers
}

fn url(servers: &[Server]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    format!("redis+cluster://{}", addresses.join(","))
}

#[tokio::test]
async fn a_cluster_keeps_each_history_at_one_of_its_servers() {
    let mut servers = cluster(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let nodes = [node(&url(&servers[..1]), "a").await, node(&url(&servers), "b").await];
    let names: Vec<_> = (0..30).map(|number| format!("r{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let shards: BTreeSet<_> = names.iter().map(|name| nodes[0].keys.shard(name)).collect();
    assert!(shards.len() > 15, "they are spread");
    let places = nodes[0].try_push(&names, "1").await.unwrap();
    assert!(places.iter().all(|at| at.offset == 1));
    let copies = nodes.iter().chain(&nodes).map(|node| node.try_push_once(&names, "2", Some(once("k"))));
    for copy in futures_util::future::join_all(copies).await {
        let (Appended::Now(places) | Appended::Before(places)) = copy.unwrap();
        assert!(places.iter().all(|at| at.offset == 2), "{places:?}");
    }
    let other = Once { key: "k", print: [9; 16] };
    assert_eq!(nodes[1].try_push_once(&["elsewhere"], "3", Some(other)).await, Err(NotAppended::OtherCall));
    let changes = nodes[1].changed(&[], 1000).await.unwrap();
    assert_eq!(changes.heads.len(), 30);
    assert!(nodes[1].changed(&changes.cursor, 1000).await.unwrap().heads.is_empty());
    // One of three dies: what the others have can be used.
    servers[2].kill();
    nodes[0].is_away("").await;
    let pushes = names.iter().map(|name| nodes[0].try_push(std::slice::from_ref(name), "3"));
    let results = futures_util::future::join_all(pushes).await;
    let well = results.iter().filter(|result| result.is_ok()).count();
    assert!((5..30).contains(&well), "{well}");
    servers[2].again().await;
    nodes[0].is_well().await;
    for (name, at) in names.iter().zip(places) {
        assert!(nodes[0].read_from(name, at).await.continues, "{name}");
        nodes[0].push(name, "4").await;
    }
}

#[tokio::test]
async fn a_part_of_a_cluster_that_moves_is_followed() {
    let servers = cluster(&[]).await;
    let node = node(&url(&servers), "a").await;
    let at = node.push("r", "1").await;
    let slot = super::super::keys::slot(node.keys.shard("r")).to_string();
    let from = servers.iter().position(|server| {
        let places = &node.wires.borrow().places;
        *places[node.keys.shard("r") as usize] == *server.address().to_string()
    });
    let (from, to) = (&servers[from.unwrap()], &servers[(from.unwrap() + 1) % 3]);
    let id = async |server: &Server| {
        let said = server.ask(&["CLUSTER", "MYID"]).await;
        said.lines().nth(1).unwrap().to_owned()
    };
    let (from_id, to_id) = (id(from).await, id(to).await);
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
    let keys: Vec<_> = keys.lines().filter(|line| line.contains("tidegate")).collect();
    assert!(keys.len() >= 4, "{keys:?}");
    let port = to.port.to_string();
    let migrate = [&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], &keys[..]].concat();
    assert!(from.ask(&migrate).await.starts_with("+OK"));
    for server in [to, from] {
        server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
    }
    let began = Instant::now();
    while node.try_push(&["r"], "2").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(10)).await;
    }
    let page = node.read_from("r", at).await;
    assert!(page.continues && page.items.len() == 1, "{page:?}");
}

#[tokio::test]
async fn a_cluster_that_says_addresses_which_are_none_is_told_from_it() {
    let servers = cluster(&[]).await;
    for server in &servers {
        server.ask(&["CONFIG", "SET", "cluster-announce-ip", "127.9.9.9"]).await;
    }
    let lies = |said: &str| said.contains("127.9.9.9");
    for server in &servers {
        server.until(&["CLUSTER", "SLOTS"], lies).await;
    }
    let said = settings(&url(&servers)).try_out().await.unwrap_err();
    assert!(said.contains("127.9.9.9") && said.contains("cluster-announce-ip"), "{said}");
    let single = settings(&servers[0].url()).try_out().await.unwrap_err();
    assert!(single.contains("redis+cluster"), "{single}");
    let alone = Server::start(&[]).await;
    let said = settings(&url(&[alone])).try_out().await.unwrap_err();
    assert!(said.contains("no server of a Cluster"), "{said}");
}

#[tokio::test]
async fn tls_trusts_the_authority_that_was_named_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority::Authority::new();
    authority.sign(folder.path(), "redis", authority::Kind::Good);
    authority.write(folder.path(), "ca");
    authority::Authority::new().write(folder.path(), "other");
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let tls_port = Server::prepared(&[]).port.to_string();
    let redis = Server::start(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &file("redis.pem"),
        "--tls-key-file",
        &file("redis.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let settings = |scheme: &str, port: &str, ca: Option<&str>| {
        let ca = ca.map(|name| ("--engine-ca", file(name).into()));
        let beside = RedisBeside { ca, password: None, prefix: "tidegate".to_owned() };
        RedisSettings::parse(&format!("{scheme}://127.0.0.1:{port}"), beside).unwrap()
    };
    let node = node_with(settings("rediss", &tls_port, Some("ca.pem")), "a");
    node.is_well().await;
    assert_eq!(node.push("r", "x").await.offset, 1);
    let distrusts = settings("rediss", &tls_port, Some("other.pem")).try_out().await.unwrap_err();
    assert!(distrusts.contains("not signed by an authority that is trusted here"), "{distrusts}");
    let plain = settings("rediss", &redis.port.to_string(), Some("ca.pem")).try_out().await.unwrap_err();
    assert!(plain.contains("TLS"), "{plain}");
    let wants_tls = settings("redis", &tls_port, None).try_out().await.unwrap_err();
    assert!(wants_tls.contains("does it want TLS?"), "{wants_tls}");
}
