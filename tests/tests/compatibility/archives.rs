//! Programs that copy trees with all their attributes.

use crate::workload::Workload;

const TREE: &str = r#"
mkdir -p tree/deep/er && seq 1000 > tree/numbers && echo text > tree/deep/er/text && ln -s ../numbers tree/deep/link
ln tree/numbers tree/again && chmod 750 tree/deep && touch -d '2020-02-02 02:02:02 UTC' tree/numbers && mkfifo tree/pipe
"#;

#[test]
fn tar_packs_and_unpacks() {
    let script = format!(
        r#"{TREE}
for kind in gz xz; do
  tar -c -a -f tree.tar.$kind tree
  mkdir $kind && tar -x -p -f tree.tar.$kind -C $kind
  diff -r --no-dereference tree $kind/tree > difference || cat difference
  stat -c '%a %h %Y' $kind/tree/deep $kind/tree/numbers | cut -d ' ' -f 1,2,3 | tail -n 1
done
tar -tf tree.tar.xz | sort | tail -n 2
tar -cf - tree | (mkdir piped && cd piped && tar -xf -) && readlink piped/tree/deep/link
cp tree/numbers . && gzip -k numbers && zcat numbers.gz | tail -n 1 && bzip2 -k numbers && bzcat numbers.bz2 | wc -l
rm -r tree gz xz piped numbers* && ls
"#
    );
    let says = "File tree/pipe is a fifo while file gz/tree/pipe is a fifo\n644 2 1580608922\n\
                File tree/pipe is a fifo while file xz/tree/pipe is a fifo\n644 2 1580608922\n\
                tree/numbers\ntree/pipe\n../numbers\n1000\n1000\ndifference\ntree.tar.gz\ntree.tar.xz\n";
    Workload::new("tar_packs_and_unpacks", "base, shell").run(&script, says);
}

#[test]
fn rsync_copies_a_tree() {
    let name = "rsync_copies_a_tree";
    let rules = "    - allow: [read, exec]\n      paths: [\"/usr/bin/rsync\"]";
    let workload = Workload::new(name, "base, shell").files(rules);
    let Some(workload) = workload.needs(&["/usr/bin/rsync"]) else { return };
    let script = format!(
        r#"{TREE}
rsync -aHX --chmod=Dg+s tree/ copy/
stat -c '%a %h %Y' copy/numbers && readlink copy/deep/link && stat -c %a copy/deep
echo changed > tree/deep/er/text && touch -d @0 tree/deep/er/text && rm tree/again
rsync -a --delete --itemize-changes tree/ copy/ | grep -v '^\.' | sort
rsync -a --link-dest=../copy copy/ linked/ && stat -c %h linked/numbers
"#
    );
    let says = "644 2 1580608922\n../numbers\n2750\n*deleting   again\n>f.st...... deep/er/text\n2\n";
    workload.run(&script, says);
}
