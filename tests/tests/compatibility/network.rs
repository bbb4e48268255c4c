//! Clients of a server outside that the policy allows.

use agentguard_tests::loopback::Listener;

use crate::workload::Workload;

#[test]
fn curl_reads_from_loopback() {
    let listener = Listener::on("127.0.0.1");
    let port = listener.port();
    let rules = "    - allow: [read, exec]\n      paths: [\"/usr/bin/curl\"]";
    let rest = format!("  network:\n    - allow: [connect]\n      to: [127.0.0.1]\n      ports: [{port}]\n");
    let script = format!("curl -sS --max-time 300 -o page http://127.0.0.1:{port}/page && cat page");
    let server = listener.answer_http("the page\n");
    let workload = Workload::new("curl_reads_from_loopback", "base, shell").files(rules).rest(&rest);
    workload.run(&script, "the page\n");
    assert!(server.join().expect("no panic").starts_with("GET /page HTTP/1.1\r\n"));
}
