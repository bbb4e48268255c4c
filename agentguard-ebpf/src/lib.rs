//! Empty: lets dependants notice changes of the eBPF programs in `main.rs`.
#![no_std]
