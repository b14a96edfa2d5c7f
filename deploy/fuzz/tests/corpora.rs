//! What fuzzing has found worth keeping, given to every target again: in any build, in a moment.
#![allow(clippy::unwrap_used, reason = "what fails here fails a test, and says where")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn names(folder: &str) -> BTreeSet<String> {
    files(folder).iter().map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_target_has_its_program_and_its_corpus() {
    let targets: BTreeSet<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names("corpus"));
    assert_eq!(targets, names("fuzz_targets"));
    assert!(names("dictionaries").is_subset(&targets));
}

#[test]
fn nothing_in_the_corpora_does_harm() {
    for (name, target) in fuzz::TARGETS {
        let files = files(&format!("corpus/{name}"));
        assert!(files.len() >= 5, "{name} has {} inputs", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            assert!(bytes.len() <= 16 * 1024, "{} has {} bytes", file.display(), bytes.len());
            target(&bytes);
        }
    }
}

#[test]
fn nothing_short_does_harm() {
    for (_, target) in fuzz::TARGETS {
        target(&[]);
        (0..=u8::MAX).for_each(|first| target(&[first]));
        (0..=u8::MAX).for_each(|first| target(&[first, b'{', 0xff, 0, b'"', b'[']));
    }
}
