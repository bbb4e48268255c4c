//! CPython: virtual environments, packages, and every way of doing two things at once.

use crate::workload::Workload;

const EVERYDAY: &str = r#"
/usr/bin/python3 -m venv --without-pip --clear environment
environment/bin/python - <<'END'
import socket, subprocess, sys, tempfile, threading
assert sys.prefix.endswith("/environment")
server = socket.create_server(("127.0.0.1", 0))
def answer():
    connection, _ = server.accept()
    connection.sendall(connection.recv(100).upper())
thread = threading.Thread(target=answer)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
print(client.recv(100))
thread.join()
print(subprocess.run(["sort"], input=b"b\na\n", capture_output=True, check=True).stdout)
with tempfile.NamedTemporaryFile() as file:
    print(file.write(b"text"))
import ctypes, decimal, hashlib, json, ssl
print(decimal.Decimal(1) / 8, json.dumps({"a": 1}), ctypes.c_int(7).value)
END
"#;
const EVERYDAY_SAYS: &str = "b'HELLO'\nb'a\\nb\\n'\n4\n0.125 {\"a\": 1} 7\n";

#[test]
fn python_makes_environments_sockets_threads_and_children() {
    let name = "python_makes_environments_sockets_threads_and_children";
    Workload::shipped(name, "coding-agent").run(EVERYDAY, EVERYDAY_SAYS);
}

#[test]
fn python_works_for_an_ordinary_user() {
    let name = "python_works_for_an_ordinary_user";
    Workload::shipped(name, "coding-agent").user("nobody").run(EVERYDAY, EVERYDAY_SAYS);
}

#[test]
fn pip_installs_a_wheel() {
    let script = r#"
python3 - <<'END'
import zipfile
info = "greeting-1.0.dist-info/"
files = {
    "greeting.py": "def main():\n    print('hello from a wheel')\n",
    info + "METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
    info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    info + "entry_points.txt": "[console_scripts]\ngreet = greeting:main\n",
}
record = info + "RECORD"
files[record] = "".join(f"{name},,\n" for name in [*files, record])
with zipfile.ZipFile("greeting-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
END
# The distribution's pip from its wheel: to install it into the environment first takes the guest a minute.
/usr/bin/python3 -m venv --without-pip environment
pip=$(echo /usr/share/python-wheels/pip-*.whl)
environment/bin/python "$pip/pip" install -q --no-index --disable-pip-version-check \
  ./greeting-1.0-py3-none-any.whl
environment/bin/greet && ls environment/lib/python3*/site-packages
"#;
    // pip asks rustc for its version, to tell the index, and urllib3 whether it may bind ::1.
    let network = "  network:\n    - allow: [bind]\n      to: [loopback]";
    let workload = Workload::new("pip_installs_a_wheel", "base, shell, python, rust").rest(network);
    let workload = workload.needs(&["/usr/share/python-wheels"]);
    let Some(workload) = workload else { return };
    workload.run(script, "hello from a wheel\n__pycache__\ngreeting-1.0.dist-info\ngreeting.py\n");
}

#[test]
fn python_shares_work_between_processes() {
    let script = r#"
cat > work.py <<'END'
import asyncio, concurrent.futures, mmap, multiprocessing, os, signal
from multiprocessing import shared_memory

def square(n):
    return n * n

def add(total, lock, times):
    for _ in range(times):
        with lock:
            total.value += 1

async def child():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    return (await process.communicate(b"through a child"))[0]

def main():
    with multiprocessing.Pool(2) as pool:
        print(pool.map(square, range(5)))
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(square, 9).result())
    total, lock = multiprocessing.Value("i", 0, lock=False), multiprocessing.Lock()
    workers = [multiprocessing.Process(target=add, args=(total, lock, 50)) for _ in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    print(total.value)
    memory = shared_memory.SharedMemory(create=True, size=100)
    memory.buf[:4] = b"text"
    other = shared_memory.SharedMemory(name=memory.name)
    print(bytes(other.buf[:4]))
    other.close(); memory.close(); memory.unlink()
    with multiprocessing.Manager() as manager:
        shared = manager.dict(key="value")
        print(shared["key"])
    queue = multiprocessing.Queue()
    worker = multiprocessing.Process(target=queue.put, args=("queued",))
    worker.start(); print(queue.get()); worker.join()
    anonymous = mmap.mmap(-1, 4096)
    if os.fork() == 0:
        anonymous[:5] = b"child"
        os._exit(0)
    os.wait()
    print(anonymous[:5])
    worker = multiprocessing.Process(target=signal.pause)
    worker.start(); worker.terminate(); worker.join(); print(worker.exitcode)
    print(asyncio.run(child()))
    niceness = os.nice(0)
    print(len(os.sched_getaffinity(0)) > 0, os.nice(1) == niceness + 1)

if __name__ == "__main__":
    main()
END
python3 work.py
"#;
    let says =
        "[0, 1, 4, 9, 16]\n81\n100\nb'text'\nvalue\nqueued\nb'child'\n-15\nb'through a child'\nTrue True\n";
    Workload::shipped("python_shares_work_between_processes", "coding-agent").run(script, says);
}
