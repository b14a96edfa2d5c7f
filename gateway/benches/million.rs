//! A million connections in one gateway process, without a kernel: what our own structures cost.
//!
//! `cargo bench -p gateway`, or `-- quick` (up to 100,000). Each size is a process of its own, whose memory the
//! kernel says exactly (`smaps_rollup`). What is called flat must be flat: the last column of each figure is its
//! value at the largest size divided by that at 10,000.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that talks to people and may stop")]

#[path = "million/measure.rs"]
mod measure;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    measure::role();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let quick = words.iter().any(|word| word == "quick");
    let sizes: &[usize] =
        if quick { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let columns: Vec<_> = sizes.iter().map(|count| measure::child(*count)).collect();
    let sizes: String = sizes.iter().map(|count| format!("{count:>11}")).collect();
    println!("{:<54}{:>4}{sizes}{:>8}{:>8}", "in one process, connections in memory", "", "growth", "target");
    let mut missed = false;
    for (row, (name, unit, most)) in measure::FIGURES.iter().enumerate() {
        let values: String = columns.iter().map(|column| format!("{:>11.2}", column[row])).collect();
        let last = columns.last().unwrap()[row];
        let target = most.map_or(String::new(), |most| format!("{most:>8}"));
        println!("{name:<54}{unit:>4}{values}{:>8.2}{target}", last / columns[1][row]);
        missed |= most.is_some_and(|most| last > most);
    }
    std::process::exit(i32::from(missed));
}
