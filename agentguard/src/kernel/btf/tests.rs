use std::time::{Duration, Instant};

use super::*;

const KIND_INT: u32 = 1;
const KIND_TYPEDEF: u32 = 8;

/// A BTF under construction. Types are numbered from 1 in the order they are added.
struct Writer {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        offset
    }

    fn record(mut self, kind: u32, name: &str, third: u32) -> Self {
        let name = self.string(name);
        self.types.extend([name, kind << 24, third]);
        self
    }

    /// Members are (name, type, bit offset).
    fn structure(mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> Self {
        let name = self.string(name);
        self.types.extend([name, kind << 24 | members.len() as u32, 0]);
        for (name, ty, offset) in members {
            let name = self.string(name);
            self.types.extend([name, *ty, *offset]);
        }
        self
    }

    fn int(self) -> Self {
        let mut with = self.record(KIND_INT, "int", 4);
        with.types.push(32);
        with
    }

    fn bytes(&self) -> Vec<u8> {
        let types = 4 * self.types.len() as u32;
        let header = [0x0001_eb9f, 24, 0, types, types, self.strings.len() as u32];
        let words = header.iter().chain(&self.types).flat_map(|w| w.to_le_bytes());
        words.chain(self.strings.iter().copied()).collect()
    }

    fn parsed(&self) -> Btf {
        Btf::parse(self.bytes()).expect("well-formed")
    }
}

fn error<T>(result: Result<T>) -> String {
    format!("{:#}", result.err().expect("must be refused"))
}

#[test]
fn members_are_found_in_anonymous_members() {
    let btf = Writer::new()
        .int()
        .structure(KIND_UNION, "", &[("a", 1, 0), ("b", 1, 32)])
        .record(KIND_TYPEDEF, "u", 2)
        .structure(KIND_STRUCT, "s", &[("x", 1, 0), ("", 3, 64), ("y", 3, 128)])
        .parsed();
    let structs = btf.structs(&HashSet::from(["s", "t"])).expect("well-formed");
    assert_eq!(structs, HashMap::from([("s", 4)]));
    for (path, offset) in
        [("x", Some(0)), ("b", Some(12)), ("y.b", Some(20)), ("z", None), ("x.b", None), ("y.z", None)]
    {
        assert_eq!(btf.offset(4, path).expect("well-formed"), offset, "{path}");
    }
}

#[test]
fn a_nested_struct_is_searched_once() {
    // Each of 12 structs holds the one before it 100 times: 100^12 ways down.
    let mut btf = Writer::new().structure(KIND_STRUCT, "", &[("x", 1, 0)]);
    for id in 1..=12 {
        btf = btf.structure(KIND_STRUCT, "", &[("", id, 0); 100]);
    }
    let started = Instant::now();
    assert_eq!(btf.parsed().offset(13, "y").expect("well-formed"), None);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_struct_in_itself_has_an_end() {
    let btf = Writer::new().structure(KIND_STRUCT, "s", &[("", 1, 8), ("x", 1, 32)]).parsed();
    assert_eq!(btf.offset(1, "x").expect("well-formed"), Some(5));
}

#[test]
fn structs_nested_too_deep_are_refused() {
    let mut btf = Writer::new().structure(KIND_STRUCT, "", &[("x", 1, 0)]);
    for id in 1..=MAX_DEPTH {
        btf = btf.structure(KIND_STRUCT, "", &[("", id, 0)]);
    }
    assert!(error(btf.parsed().offset(MAX_DEPTH + 1, "x")).contains("too deep"));
    assert_eq!(btf.parsed().offset(MAX_DEPTH, "x").expect("well-formed"), Some(0));
}

#[test]
fn offsets_out_of_range_are_refused() {
    let btf = Writer::new()
        .structure(KIND_STRUCT, "", &[("x", 1, 0x8000_0000)])
        .structure(KIND_STRUCT, "s", &[("", 1, 0x8000_0000), ("y", 1, 0x8000_0000)])
        .parsed();
    assert!(error(btf.offset(2, "x")).contains("out of range"));
    assert!(error(btf.offset(2, "y.x")).contains("out of range"));
}

#[test]
fn void_is_no_struct() {
    let btf = Writer::new()
        .record(KIND_TYPEDEF, "nothing", 0)
        .structure(KIND_STRUCT, "s", &[("a", 0, 0), ("", 1, 0)])
        .parsed();
    for path in ["a.b", "b"] {
        assert!(error(btf.offset(2, path)).contains("void"), "{path}");
    }
}

#[test]
fn a_long_string_costs_nothing() {
    // 100,000 structs, all named by one string of 4 MB.
    let mut btf = Writer::new();
    for _ in 0..100_000 {
        btf = btf.structure(KIND_STRUCT, "", &[("", 1, 0)]);
    }
    btf.types.iter_mut().step_by(6).for_each(|name| *name = 1);
    btf.strings.resize(4 << 20, b'x');
    btf.strings.push(0);
    let started = Instant::now();
    assert!(btf.parsed().offsets().is_err());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn what_is_cut_off_is_refused() {
    let whole = Writer::new().int().structure(KIND_STRUCT, "s", &[("x", 1, 0)]).bytes();
    for len in 0..whole.len() {
        assert!(Btf::parse(whole[..len].to_vec()).is_err(), "{len} of {} bytes", whole.len());
    }
    let mut types_too_short = whole;
    types_too_short[12] -= 4;
    assert!(error(Btf::parse(types_too_short)).contains("last type is cut off"));
}

#[test]
fn every_offset_of_this_kernel_is_found() {
    if let Ok(btf) = Btf::running() {
        btf.offsets().expect("this kernel has what AgentGuard needs");
    }
}
