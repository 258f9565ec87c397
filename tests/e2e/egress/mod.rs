//! The way out of the sandbox: what rules name is reached, and nothing else, by whatever program.

mod world;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::need::need;
use crate::harness::run::Finished;
use crate::harness::{DEADLINE, RunBuilder, until};
use world::{PUBLIC, World};

/// Prints the status that curl gets for a URL, and for a tunnel the one of the proxy.
const CURL: &str = r#"ask() { curl -s -o /tmp/body -w '%{http_code} %{http_connect}\n' "$@" || true; }
"#;

fn network_events(run: &Finished) -> Vec<Value> {
    run.recording.events_of("network")
}

/// Connections that were decided so, over all events of a host.
fn count(events: &[Value], decision: &str, host: &str) -> u64 {
    let own = events
        .iter()
        .filter(|event| event["decision"] == decision && event["host"] == host);
    own.map(|event| event["count"].as_u64().unwrap()).sum()
}

fn sum(events: &[Value], field: &str) -> u64 {
    let numbers = events.iter().map(|event| event[field].as_u64().unwrap());
    numbers.sum()
}

/// A run of a Python script.
fn python(script: &str) -> RunBuilder {
    RunBuilder::new(["/usr/bin/python3", "-c", script])
}

#[test]
fn curl_reaches_what_rules_name_and_is_told_what_to_ask_for() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script = format!(
        "{CURL}
        ask http://site.test/; cat /tmp/body
        ask http://SITE.test./
        ask --proxytunnel http://site.test:443/; cat /tmp/body
        ask http://www.site.test/
        ask --proxytunnel http://www.site.test:443/
        ask http://site.test:8080/
        ask http://other.test:8080/
        ask http://{PUBLIC}/; cat /tmp/body
        ask http://absent.below.test/
        ask -L http://site.test/redirect
        ask http://site.test/large; wc -c < /tmp/body"
    );
    let run = world.run(
        "site.test,other.test:8080,*.below.test",
        RunBuilder::sh(&script),
    );
    let run = run.finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let expected = format!(
        "200 000\nthis is public\n200 000\n200 200\nthis is public\n403 000\n000 403\n403 000\n200 000\n403 000\n\
         Denied by Stockade: {PUBLIC}:80: no rule names this host.\n\
         Rules of this run: site.test,other.test:8080,*.below.test\n\
         Whoever starts the run can allow it: --net allow=RULES with {PUBLIC} among them.\n\
         502 000\n403 000\n200 000\n5000000\n"
    );
    assert_eq!(run.stdout, expected);
    run.recording.assert_whole();
    let status = run.recording.status();
    let network = &status["isolation"]["network"];
    assert_eq!(network, "allow=site.test,other.test:8080,*.below.test");
    let layers = status["isolation"]["layers"].as_array().unwrap();
    assert!(
        layers.iter().any(|layer| layer == "network-namespace"),
        "{layers:?}"
    );
    let events = network_events(&run);
    assert_eq!(count(&events, "allow", "site.test"), 5);
    assert_eq!(count(&events, "allow", "other.test"), 1);
    assert_eq!(count(&events, "deny", "www.site.test"), 2);
    assert_eq!(count(&events, "deny", "site.test"), 1);
    assert_eq!(count(&events, "deny", "inner.test"), 1);
    assert_eq!(count(&events, "error", "absent.below.test"), 1);
    assert_eq!(sum(&events, "closed"), 6);
    assert!(sum(&events, "bytes_received") > 5_000_000);
    assert_eq!(world.seen("inner"), Vec::<String>::new());
}

#[test]
fn python_and_node_find_the_proxy() {
    let (Some(world), Some(_)) = (World::start(), need("node")) else {
        return;
    };
    let script = "
import urllib.error, urllib.request
print(urllib.request.urlopen('http://site.test/').read())
for url in ['http://other.test/', 'https://other.test/']:
    try:
        urllib.request.urlopen(url)
    except urllib.error.URLError as error:
        print(error)
";
    let run = world.run("site.test", python(script)).finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(
        run.stdout,
        "b'this is public\\n'\nHTTP Error 403: Denied by Stockade: no-rule\n\
         <urlopen error Tunnel connection failed: 403 Denied by Stockade: no-rule>\n"
    );
    // Old versions of Node.js do not look at the variables by themselves.
    let script = "
const http = require('http');
const proxy = new URL(process.env.http_proxy);
const tunnel = (target) => new Promise((done) => {
  const request = http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target});
  request.on('connect', (response, socket) => { socket.destroy(); done(response.statusCode); });
  request.end();
});
(async () => {
  console.log(process.env.NODE_USE_ENV_PROXY, await tunnel('site.test:443'), await tunnel('other.test:443'));
})();
";
    let run = world.run("site.test", RunBuilder::new(["node", "-e", script]));
    let run = run.finish();
    assert_eq!(run.stdout, "1 200 403\n", "{}", run.stderr);
}

#[test]
fn nothing_leads_out_but_the_proxy() {
    let Some(world) = World::start() else {
        return;
    };
    let script = format!(
        "
import socket
print(socket.if_nameindex())
for host, port in [('{PUBLIC}', 80), ('127.0.0.1', 8000), ('127.0.0.1', 80), ('10.1.2.3', 80), ('169.254.169.254', 80)]:
    try:
        socket.create_connection((host, port), 5)
        print('reached', host, port)
    except OSError as error:
        print(type(error).__name__)
try:
    socket.getaddrinfo('site.test', 80)
    print('resolved')
except OSError as error:
    print(type(error).__name__)
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{PUBLIC}', 53))
    print('sent')
except OSError as error:
    print(type(error).__name__)
print(socket.create_connection(('127.0.0.1', 3128), 5).getpeername())
"
    );
    let run = world.run("site.test", python(&script)).finish();
    assert_eq!(
        run.stdout,
        "[(1, 'lo')]\nOSError\nConnectionRefusedError\nConnectionRefusedError\nOSError\nOSError\ngaierror\nOSError\n\
         ('127.0.0.1', 3128)\n",
        "{}",
        run.stderr
    );
    for place in ["public", "inner", "private", "metadata"] {
        assert_eq!(world.seen(place), Vec::<String>::new());
    }
}

#[test]
fn names_lead_only_to_public_addresses_and_to_networks_that_were_named() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script = format!(
        "{CURL}
        for host in inner.test metadata.test private.test mixed.test localhost; do
            ask --noproxy '' http://$host/
        done
        ask http://169.254.169.254/latest/meta-data/
        ask --noproxy '' http://127.0.0.1/
        ask --noproxy '' http://[::ffff:127.0.0.1]/
        ask --noproxy '' -H 'Host: inner.test' http://site.test/"
    );
    let closed = world.run("*", RunBuilder::sh(&script)).finish();
    let expected =
        "403 000\n403 000\n403 000\n200 000\n403 000\n403 000\n403 000\n403 000\n400 000\n";
    assert_eq!(closed.stdout, expected, "{}", closed.stderr);
    assert_eq!(world.seen("private"), Vec::<String>::new());
    let opened = world.run("*,private:10.1.0.0/16", RunBuilder::sh(&script));
    let opened = opened.finish();
    let expected =
        "403 000\n403 000\n200 000\n200 000\n403 000\n403 000\n403 000\n403 000\n400 000\n";
    assert_eq!(opened.stdout, expected, "{}", opened.stderr);
    assert_eq!(world.seen("private"), ["private GET / HTTP/1.1"]);
    for place in ["inner", "metadata"] {
        assert_eq!(world.seen(place), Vec::<String>::new());
    }
    let denied = network_events(&closed);
    let reasons: Vec<_> = denied
        .iter()
        .filter(|event| event["decision"] == "deny" && event["host"] != "169.254.169.254")
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    assert!(reasons.contains(&"special-address"), "{reasons:?}");
}

#[test]
fn a_name_that_is_bound_anew_is_dialled_where_it_was_checked() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script = format!("{CURL} for i in $(seq 20); do ask http://rebind.test/; done");
    let run = world.run("rebind.test", RunBuilder::sh(&script)).finish();
    let n_of = |status: &str| {
        run.stdout
            .lines()
            .filter(|line| line.starts_with(status))
            .count()
    };
    assert_eq!((n_of("200"), n_of("403")), (10, 10), "{}", run.stdout);
    assert_eq!(world.seen("public").len(), 10);
    assert_eq!(world.seen("inner"), Vec::<String>::new());
}

#[test]
fn an_address_of_this_host_is_reached_by_a_rule_that_is_it_and_the_status_api_never() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script = format!(
        "{CURL}
        ask http://127.0.0.1:8000/; cat /tmp/body
        ask http://127.0.0.1:8090/healthz
        ask --noproxy '' http://[::ffff:127.0.0.1]:8090/healthz
        ask http://127.0.0.1/"
    );
    let run = RunBuilder::sh(&script).flag("--listen=127.0.0.1:8090");
    let run = world.run("127.0.0.1:8000,127.0.0.1:8090", run).finish();
    assert_eq!(
        run.stdout, "200 000\nthis is inner\n403 000\n403 000\n403 000\n",
        "{}",
        run.stderr
    );
    let reasons: Vec<_> = network_events(&run)
        .iter()
        .filter(|event| event["port"] == 8090)
        .map(|event| event["reason"].clone())
        .collect();
    assert!(
        reasons.iter().all(|reason| reason == "status-api"),
        "{reasons:?}"
    );
}

#[test]
fn the_status_api_is_not_reached_by_a_public_address_of_its_host() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script =
        format!("{CURL} ask http://{PUBLIC}:8090/healthz; ask http://site.test:8090/healthz");
    let run = RunBuilder::sh(&script)
        .flag("--listen=0.0.0.0:8090")
        .env("STOCKADE_TOKEN", "token-of-twenty-four-let");
    let rules = format!("{PUBLIC}:8090,site.test:8090");
    let run = world.run(&rules, run).finish();
    assert_eq!(run.stdout, "403 000\n403 000\n", "{}", run.stderr);
    let events = network_events(&run);
    assert_eq!(events.len(), 2);
    assert!(
        events.iter().all(|event| event["reason"] == "status-api"),
        "{events:?}"
    );
}

#[test]
fn blocked_names_are_denied_and_an_empty_list_denies_all() {
    let (Some(world), Some(_)) = (World::start(), need("curl")) else {
        return;
    };
    let script =
        format!("{CURL} ask http://site.test/; ask http://www.site.test/; ask http://other.test/");
    let blocked = r#"["site.test."]"#;
    let run = RunBuilder::sh(&script).env("STOCKADE_GUARDRAILS_BLOCKED_DOMAINS", blocked);
    let run = world.run("*,www.site.test", run).finish();
    assert_eq!(run.stdout, "403 000\n403 000\n200 000\n", "{}", run.stderr);
    let run = world.run("", RunBuilder::sh(&script)).finish();
    assert_eq!(run.stdout, "403 000\n403 000\n403 000\n", "{}", run.stderr);
    let status = run.recording.status();
    assert_eq!(status["isolation"]["network"], "allow=");
    assert_eq!(sum(&network_events(&run), "count"), 3);
}

#[test]
fn a_flood_of_denials_does_not_flood_the_log_and_none_is_lost() {
    let Some(world) = World::start() else {
        return;
    };
    let script = "
import socket
for n in range(2000):
    s = socket.create_connection(('127.0.0.1', 3128), 60)
    s.sendall(b'CONNECT h%d.test:443 HTTP/1.1\\r\\n\\r\\n' % (n % 200))
    s.shutdown(socket.SHUT_WR)
    assert s.recv(64).startswith(b'HTTP/1.1 403 '), n
";
    let run = world
        .run("site.test", python(script))
        .start()
        .finish_within(DEADLINE * 6);
    assert_eq!(run.code(), 0, "{}", run.stderr);
    let events = network_events(&run);
    assert_eq!(sum(&events, "count"), 2_000);
    let seconds = run.recording.status()["duration_ms"].as_u64().unwrap() / 1_000;
    let n_windows = usize::try_from(seconds).unwrap() / 5 + 1;
    assert!(
        events.len() <= n_windows * 131,
        "{} events in {seconds} s",
        events.len()
    );
}

/// Holds a tunnel open through which bytes come, and says when they do.
const HOLD: &str = "
import socket
s = socket.create_connection(('127.0.0.1', 3128), 60)
s.sendall(b'CONNECT site.test:443 HTTP/1.1\\r\\n\\r\\nGET /endless HTTP/1.1\\r\\n\\r\\n')
text = b''
while b'more' not in text:
    text += s.recv(4096)
print('open', flush=True)
while s.recv(4096):
    pass
print('cut', flush=True)
";

#[test]
fn a_stop_is_not_delayed_by_open_tunnels_and_their_bytes_are_on_record() {
    let Some(world) = World::start() else {
        return;
    };
    let run = world.run("site.test", python(HOLD)).start();
    run.until_stdout("open");
    run.signal(Signal::SIGTERM);
    let run = run.finish();
    assert_eq!(run.code(), 143, "{}", run.stderr);
    run.recording.assert_whole();
    let events = network_events(&run);
    assert_eq!((sum(&events, "count"), sum(&events, "closed")), (1, 1));
    assert!(sum(&events, "bytes_received") > 0);
    let last = run.recording.events().pop().unwrap();
    assert_eq!(last["type"], "complete");
}

#[test]
fn the_proxy_ends_with_a_supervisor_that_is_killed() {
    let Some(world) = World::start() else {
        return;
    };
    let run = world.run("site.test", python(HOLD)).start();
    run.until_stdout("open");
    crate::harness::run::kill(run.supervisor_pid(), Signal::SIGKILL);
    let run = run.finish();
    assert_ne!(run.code(), 0);
    assert_eq!(run.recording.status()["status"], "failed");
    // The origin's side of the tunnel is gone, so nothing holds its server's thread.
    until("the tunnel is cut", || {
        let established = std::process::Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", world.pid()))
            .args(["cat", "/proc/net/tcp"])
            .output()
            .unwrap();
        let table = String::from_utf8(established.stdout).unwrap();
        let is_open = table
            .lines()
            .any(|line| line.contains(":01BB") && line.contains(" 01 "));
        (!is_open).then_some(())
    });
}
