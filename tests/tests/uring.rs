//! io_uring's threads act for the agent, and are refused what it is refused.

use agentguard_tests::loopback::Listener;
use agentguard_tests::{Policy, Site};

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentguard-uring");

fn policy(site: &Site, port: u16) -> Policy {
    let files = format!(
        r#"
    - allow: [read, exec]
      paths: ["{PROGRAM}"]
"#
    );
    let network = format!(
        r"
  network:
    - allow: [connect]
      to: [127.0.0.1]
      ports: [{port}]
"
    );
    site.policy("uring", &files, &network)
}

#[test]
fn a_connect_by_the_submission_thread_is_decided_like_the_agents_own() {
    let site = Site::served();
    let service = Listener::on("127.0.0.1");
    let policy = policy(&site, service.port());
    let port = service.port().to_string();
    let allowed = site.agent(&policy).run([PROGRAM, "127.0.0.1", &port]).success();
    assert!(allowed.stdout.ends_with(" 0\n"), "{allowed}");
    let denied = site.agent(&policy).run([PROGRAM, "127.0.0.2", &port]).success();
    assert!(denied.stdout.ends_with(&format!(" {}\n", libc::EPERM)), "{denied}");
    site.log().denial(&denied.invocation(), "connect", &format!("127.0.0.2:{port}")).by_default();
}
