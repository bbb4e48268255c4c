//! Node.js, which compiles just in time, and npm.

use crate::workload::Workload;

fn with_node(name: &'static str, programs: &[&str]) -> Option<Workload> {
    Workload::shipped(name, "coding-agent").needs(programs)
}

#[test]
fn node_asks_over_http_and_starts_children() {
    let name = "node_asks_over_http_and_starts_children";
    let Some(workload) = with_node(name, &["/usr/bin/node"]) else { return };
    let script = r#"
cat > test.js <<'END'
const http = require("http"), { execFileSync } = require("child_process"), fs = require("fs");
const server = http.createServer((request, response) => response.end("you asked for " + request.url));
server.listen(0, "127.0.0.1", () => {
  http.get({ port: server.address().port, host: "127.0.0.1", path: "/x" }, response => {
    response.on("data", data => console.log(String(data)));
    response.on("end", () => server.close());
  });
});
fs.writeFileSync("made.txt", "made");
console.log(String(execFileSync("/usr/bin/cat", ["made.txt"])));
END
node test.js
"#;
    workload.run(script, "made\nyou asked for /x\n");
}

#[test]
fn node_works_in_threads_and_child_processes() {
    let name = "node_works_in_threads_and_child_processes";
    let Some(workload) = with_node(name, &["/usr/bin/node"]) else { return };
    let script = r#"
cat > threads.js <<'END'
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const { fork } = require("child_process"), zlib = require("zlib"), crypto = require("crypto");
if (process.argv[2] === "child") {
  process.on("message", n => { process.send(n + 1); process.disconnect(); });
} else if (!isMainThread) {
  const cells = new Int32Array(workerData);
  for (let i = 0; i < 1000; i++) Atomics.add(cells, 0, 1);
  parentPort.postMessage("done");
} else {
  const memory = new SharedArrayBuffer(4);
  const worker = () => new Promise(end => new Worker(__filename, { workerData: memory }).on("exit", end));
  Promise.all([worker(), worker()]).then(() => {
    console.log(new Int32Array(memory)[0]);
    const child = fork(__filename, ["child"]);
    child.on("message", n => console.log(n));
    child.send(41);
    child.on("exit", () => {
      zlib.gzip("x".repeat(1e5), (_, data) => console.log(zlib.gunzipSync(data).length));
      let sum = 0;
      for (let i = 0; i < 3e6; i++) sum = (sum + i * i) % 1000003; // long enough to be compiled
      console.log(sum, crypto.createHash("sha256").update("x").digest("hex").slice(0, 8));
    });
  });
}
END
node threads.js
"#;
    workload.run(script, "2000\n42\n999718 2d711642\n100000\n");
}

#[test]
fn npm_installs_a_package() {
    let Some(workload) = with_node("npm_installs_a_package", &["/usr/bin/node", "/usr/bin/npm"]) else {
        return;
    };
    let script = r#"
mkdir -p package && cat > package/package.json <<'END'
{ "name": "greeting", "version": "1.0.0", "bin": { "greet": "greet.js" }, "main": "greet.js",
  "scripts": { "postinstall": "node -e 'require(\"fs\").writeFileSync(\"installed\", \"\")'" } }
END
printf '#!/usr/bin/env node\nconsole.log("hello from a package")\n' > package/greet.js && chmod +x package/greet.js
tar czf greeting-1.0.0.tgz package && mkdir app && cd app
echo '{ "name": "app", "version": "1.0.0", "scripts": { "greet": "greet" } }' > package.json
npm install --offline --no-audit --no-fund --silent ../greeting-1.0.0.tgz
npm run --silent greet
ls node_modules/greeting
ls /tmp/npm-cache-root && rm -r /tmp/npm-cache-root # where preset `node` has it
"#;
    workload.run(script, "hello from a package\ngreet.js\ninstalled\npackage.json\n_cacache\n_logs\n");
}
