//! Scenarios against the command line that they are beneath.

use super::*;
use crate::args::Command as Asked;

fn plan(words: &[&str]) -> Result<loadtest::Plan, String> {
    let argv = ["x"].iter().chain(words).map(OsString::from).collect();
    let args = parse(argv).map_err(|error| error.to_string())?;
    let stage = match args.command {
        Asked::Million(asked) => asked.stage,
        Asked::Scenario(super::super::ScenarioCommand::Run(asked)) => asked.stage,
        _ => panic!("no stage"),
    };
    Ok(stage.split().0)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn all_of_ours_are_good_and_say_what_they_are() {
    for (name, text) in OURS {
        let scenario = Scenario::find(name).unwrap();
        assert!(!scenario.about.is_empty() && scenario.text == text, "{name}");
        let mut plan = plan(&["scenario", "run", name]).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        plan.gateways = vec!["ws://127.0.0.1:1".into()];
        assert_eq!(plan.check(), Ok(()), "{name}");
    }
    assert_eq!(list().unwrap().lines().count(), OURS.len());
    assert_eq!(plan(&["million"]).unwrap().clients, 1_000_000);
}

#[test]
fn what_is_typed_goes_before_the_scenario() {
    let file = file(
        "about = \"x\"\nconnections = \"3k\"\nrate = 7.5\nsize = 300\nlogic = [\"http://a:1\", \"http://b:2\"]",
    );
    let path = file.path().to_str().unwrap();
    let plain = plan(&["scenario", "run", path]).unwrap();
    assert_eq!((plain.clients, plain.rate, plain.size, plain.logics.len()), (3_000, 7.5, 300, 2));
    for typed in ["--connections", "--clients"] {
        let typed = plan(&["scenario", "run", path, typed, "5", "--target", "http://c:3"]).unwrap();
        assert_eq!((typed.clients, typed.rate, &typed.logics[..]), (5, 7.5, &["http://c:3".to_owned()][..]));
    }
    assert_eq!(plan(&["million", "--scenario", path, "--rate", "9"]).unwrap().rate, 9.0);
}

#[test]
fn events_are_tables_and_flags() {
    use loadtest::Event;
    use std::time::Duration;
    let file =
        file("[[event]]\nat = \"30s\"\nkill = \"gateway\"\n[[event]]\nat = \"40s\"\nstart = \"gateway-2\"");
    let path = file.path().to_str().unwrap();
    let secs = Duration::from_secs;
    let both = [(secs(30), Event::KillGateway(0)), (secs(40), Event::StartGateway(2))];
    assert_eq!(plan(&["scenario", "run", path]).unwrap().events.at, both);
    let typed = plan(&["scenario", "run", path, "--event", "5s:kill=gateway-1"]).unwrap().events.at;
    assert_eq!(typed, [(secs(5), Event::KillGateway(1))]);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_what_was_meant() {
    for (text, said) in [
        ("connectoins = 5", "unknown key \"connectoins\"; did you mean \"connections\"?"),
        ("zzz = 5", "known are "),
        ("scenario = \"million\"", "unknown key \"scenario\""),
        ("rate = [1, 2]", "\"rate\" takes one value, not a list"),
        ("rate = true", "\"rate\" is not true or false"),
        ("rate = \"many\"", "invalid value 'many' for '--rate"),
        ("duration = 1979-05-27", "write it in quotes"),
        ("connections = -1", "a number is expected"),
        ("about = 1", "\"about\" must be a text"),
        ("rate = 1\nrate = 2", "duplicate key"),
        ("[rate]", "cannot be table"),
        ("[[event]]\nat = \"1s\"", "needs a time and what to do"),
        ("[[event]]\nat = \"1s\"\nkil = \"gateway\"", "did you mean kill?"),
        ("[[event]]\nat = \"1s\"\nkill = \"logic\"", "an event is written"),
        ("event = [1]", "must be tables"),
    ] {
        let file = file(text);
        let wrong = plan(&["scenario", "run", file.path().to_str().unwrap()]).unwrap_err();
        assert!(wrong.contains(said), "{text}: {wrong}");
    }
    let wrong = plan(&["scenario", "run", "brodcast"]).unwrap_err();
    assert!(wrong.contains("did you mean \"broadcast\"?"), "{wrong}");
    assert!(plan(&["scenario", "run", "no/such.toml"]).unwrap_err().contains("No such file"));
}
