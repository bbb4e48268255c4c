//! What the daemon and the decision core cost natively, each beside a baseline of the same run.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Instant;

use agentguard_tests::api::Call;
use agentguard_tests::{Level, Site};
use serde_json::{Value, json};

use super::enforce::{RULES, policy};
use super::ms;

const REPEATS: usize = 11;
/// Denied connects of the storm, each an event.
const EVENTS: u32 = 50_000;
/// No rule names it.
const DENIED_PORT: u16 = 4444;
/// Nobody listens.
const CLOSED_PORT: u16 = 9;

fn figure(name: &str, unit: &str, value: f64, baseline: (&str, f64)) {
    println!(
        "{}",
        json!({ "figure": name, "unit": unit, "value": value, "baseline": baseline.0, "base": baseline.1 })
    );
}

fn median(one: impl FnMut() -> f64) -> f64 {
    super::median(REPEATS, one)
}

/// Prints every figure.
pub(super) fn run() {
    decisions();
    startup();
    pushes();
    events();
}

/// A path of so many components and bytes.
fn path(start: &str, components: usize, bytes: usize) -> String {
    let mut path = start.to_owned();
    for _ in path.split('/').skip(1).count()..components {
        path.push_str("/d");
    }
    path.push_str(&"x".repeat(bytes - path.len()));
    path
}

/// The decision about a path, by its length, its depth, and the rules of the policy.
fn decisions() {
    let site = Site::default();
    let tenant = "/srv/tenants/07/00007/data";
    let paths = [
        path("/b", 2, 8),
        path("/b", 6, 24),
        path("/b", 12, 24),
        path("/b", 12, 48),
        path(tenant, 12, 64),
        path(tenant, 12, 256),
        path(tenant, 256, 1024),
    ];
    for rules in RULES {
        let file = site.file(&format!("{rules}.yaml"), &policy(rules, "enforce"));
        let mut command = site.agentguard();
        command.args(["policy", "time", &file, "--json"]).args(&paths);
        let output = site.finish(&mut command).success().stdout;
        let timings: Vec<Value> = serde_json::from_str(&output).expect("JSON");
        for timing in timings {
            let number = |key: &str| timing[key].as_f64().expect("a number");
            let what = format!("{rules} rules, {} bytes in {} names", timing["bytes"], timing["components"]);
            for heat in ["warm", "cold"] {
                let (took, empty) = (number(&format!("{heat}_ns")), number(&format!("{heat}_empty_ns")));
                figure(
                    &format!("decision, {heat}: {what}"),
                    "ns",
                    took,
                    ("the same without deciding", empty),
                );
            }
        }
    }
}

/// From the start of the daemon until it listens, with everything attached and tested.
fn startup() {
    let site = Site::default();
    let base = median(|| {
        let start = Instant::now();
        let _ = site.call(&["doctor", "--programs", "--level", "compat"]).success();
        ms(start)
    });
    let base = ("loading the programs", base);
    let first = median(|| {
        let start = Instant::now();
        let daemon = site.daemon();
        let took = ms(start);
        daemon.stop(&site, libc::SIGTERM);
        took
    });
    figure("start of the daemon", "ms", first, base);
    let policy = site.file("few.yaml", &policy(10, "enforce"));
    let daemon = site.daemon();
    let agent = site.agent(&policy).options(&["--level", Level::expected().name(), "--allow-degraded"]);
    let mut waiting = agent.spawn_on(std::process::Stdio::piped(), &["/usr/bin/cat"]);
    let _ = waiting.invocation();
    daemon.kill();
    let again = median(|| {
        let start = Instant::now();
        let daemon = site.daemon();
        let took = ms(start);
        daemon.kill();
        took
    });
    figure("start that takes over a live invocation", "ms", again, base);
    let daemon = site.daemon();
    drop(waiting.process.child().stdin.take());
    let _ = waiting.finish();
    daemon.stop(&site, libc::SIGTERM);
}

/// A push of a new version of a policy that nobody runs under.
fn pushes() {
    let site = Site::default();
    let daemon = site.daemon();
    let mut base = 0.0;
    for rules in RULES {
        let document = policy(rules, "enforce");
        let mut round = 0;
        let took = median(|| {
            round += 1;
            let version =
                document.replace("\"/dev/null\"", &format!("\"/dev/null\", \"/srv/round-{round}\""));
            let body = json!({ "file": "p.yaml", "document": version }).to_string();
            let call = Call::connect(&site.socket());
            let start = Instant::now();
            call.post("/v1/policies", &body).expect("pushed");
            ms(start)
        });
        if base == 0.0 {
            base = took;
        }
        figure(&format!("push of {rules} rules"), "ms", took, ("push of the fewest rules", base));
    }
    daemon.stop(&site, libc::SIGTERM);
}

/// Events of one task that does nothing but be denied, until all are in the log.
fn events() {
    let site = Site::default();
    let daemon = site.daemon();
    let program = std::env::current_exe().expect("this program");
    let storm = |port: u16| [program.display().to_string(), "storm".into(), port.to_string()];
    let plain = site.finish(Command::new(&program).args(&storm(CLOSED_PORT)[1..])).success().stdout;
    let own = format!("\"/usr/**\", \"{}\"", program.display()); // it has to be readable
    let rules = site.file("storm.yaml", &policy(10, "enforce").replace("\"/usr/**\"", &own));
    let start = Instant::now();
    let agent = site.agent(&rules).options(&["--level", Level::expected().name(), "--allow-degraded"]);
    let done = agent.run(storm(DENIED_PORT)).success();
    let recorded = site.log().until_end(&done.invocation());
    let seconds = start.elapsed().as_secs_f64();
    let of_them = recorded.iter().filter(|e| e.is_denial() && e.text("/action") == "connect").count();
    let lost = recorded.last().and_then(|end| end.number("/detail/lost"));
    assert_eq!((of_them, lost), (EVENTS as usize, Some(0)), "denied connects in the log, and events lost");
    let rate = |stdout: &str| f64::from(EVENTS) / stdout.trim().parse::<f64>().expect("seconds");
    let base = ("connects to a closed port, untagged", rate(&plain));
    figure("denied connects", "1/s", rate(&done.stdout), base);
    figure("denied connects until all are in the log", "1/s", f64::from(EVENTS) / seconds, base);
    daemon.stop(&site, libc::SIGTERM);
}

/// Connects to a port in a row, and prints the seconds that took.
pub(super) fn storm(port: u32) {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port as u16);
    let start = Instant::now();
    for _ in 0..EVENTS {
        TcpStream::connect(address).expect_err("nobody listens there");
    }
    println!("{}", start.elapsed().as_secs_f64());
}
