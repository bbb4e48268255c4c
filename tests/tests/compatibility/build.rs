//! Compilers, linkers, and what they made.

use crate::workload::Workload;

#[test]
fn gcc_compiles_and_the_result_runs() {
    let script = r#"
cat > hello.c <<'END'
#include <stdio.h>
#include <math.h>
int main(int argc, char **argv) { printf("hello %d %.1f\n", argc, sqrt(argc * 16.0)); return 0; }
END
gcc -O1 -Wall -o hello hello.c -lm
./hello
"#;
    Workload::shipped("gcc_compiles_and_the_result_runs", "coding-agent").run(script, "hello 1 4.0\n");
}

#[test]
fn make_builds_libraries_and_a_program() {
    let script = r#"
printf 'int twice(int n) { return 2 * n; }\n' > twice.c
printf 'int thrice(int n) { return 3 * n; }\n' > thrice.c
cat > main.c <<'END'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
int twice(int);
static void *work(void *n) { *(int *)n = twice(*(int *)n); return NULL; }
int main(void) {
    int n = 4;
    pthread_t thread;
    pthread_create(&thread, NULL, work, &n);
    pthread_join(thread, NULL);
    int (*thrice)(int) = (int (*)(int))dlsym(dlopen("./libthrice.so", RTLD_NOW), "thrice");
    printf("%d\n", thrice(n));
}
END
cat > Makefile <<'END'
program: main.o libtwice.a libthrice.so
	gcc -o $@ main.o -L. -ltwice -ldl -pthread
libtwice.a: twice.o
	ar rcs $@ $^
libthrice.so: thrice.c
	gcc -g -fPIC -shared -o $@ $<
END
make -s -j2 && ./program && make -s -q && strip program && ./program && size -A program | grep -c '^\.text'
"#;
    Workload::new("make_builds_libraries_and_a_program", "base, shell, compiler").run(script, "24\n24\n1\n");
}

#[test]
fn cargo_builds_and_runs_a_crate() {
    let name = "cargo_builds_and_runs_a_crate";
    let script = r#"
mkdir src && cat > Cargo.toml <<'END'
[package]
name = "greeting"
version = "1.0.0"
edition = "2021"
END
echo 'fn main() { println!("{}", std::env::args().count()); }' > src/main.rs
CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 cargo run -q --offline -- an argument
target/debug/greeting
"#;
    // The toolchain of whoever builds this: a home of its own would need one of its own.
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let cargo = format!("{home}/.cargo/bin/cargo");
    let workload = Workload::shipped(name, "build-runner").needs(&[&cargo]);
    let Some(workload) = workload else { return };
    workload.at_home(&home, ".cargo/bin").run(script, "3\n1\n");
}
