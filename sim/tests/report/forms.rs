//! The picture, the page and the columns, read back with parsers.

use std::collections::BTreeMap;

use html5gum::{Token, Tokenizer};
use peerloom_sim::Report;
use peerloom_sim::plan::{FaultKind, PeerNumber};
use peerloom_sim::trace::{Event, What};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::traces::{
    Room, busy, crash_in_the_middle, divergence_after_a_partition, hostile, loop_in_a_triangle,
};

/// The data of a page, after checks that it is one page with the elements that it should have and no more.
fn data_of(page: &str) -> Value {
    let (mut scripts, mut inside, mut data) = (0, false, String::new());
    let mut elements: BTreeMap<String, usize> = BTreeMap::new();
    for token in Tokenizer::new(page) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                for attribute in tag.attributes.keys() {
                    assert!(!attribute.starts_with(b"on"), "the page is scripted in one place only");
                    assert!(![b"src".as_slice(), b"href"].contains(&attribute.as_slice()), "no other file");
                }
                inside = tag.attributes.get(b"id".as_slice()).is_some_and(|id| id.as_slice() == b"data");
                scripts += usize::from(name == "script");
                *elements.entry(name).or_default() += 1;
            }
            Token::String(text) if inside => data += &String::from_utf8_lossy(&text),
            Token::EndTag(_) => inside = false,
            _ => {}
        }
    }
    assert_eq!(scripts, 2, "the data and the program");
    assert_eq!((elements["title"], elements["body"], elements.get("img")), (1, 1, None));
    serde_json::from_str(&data).expect("the data of a page is JSON")
}

/// The names of the elements of a picture with their classes, and how many there are of each.
fn elements_of(svg: &str) -> BTreeMap<String, usize> {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}:\n{svg}"));
    assert_eq!(document.root_element().tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
    let mut elements = BTreeMap::new();
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        let class = element.attribute("class").unwrap_or_default();
        *elements.entry(format!("{}.{class}", element.tag_name().name())).or_default() += 1;
    }
    elements
}

fn texts_of(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).expect("a picture is XML");
    let texts =
        document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    texts.map(|text| text.text().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_picture_shows_the_divergence_its_lost_message_and_its_partition() {
    let svg = divergence_after_a_partition().to_svg();
    let elements = elements_of(&svg);
    assert_eq!(elements["text.lane"], 3);
    assert_eq!(elements["g.lost"], 1, "one message never arrived");
    assert_eq!(elements["line.arrow abnormal"], 2, "one was lost, one delayed");
    assert_eq!(elements["rect.fault"], 3, "the partition touches three lanes");
    assert!(elements["rect.badge"] >= 6 && elements["rect.version"] >= 6);
    let texts = texts_of(&svg);
    for expected in ["A", "B", "C", "D", "✕ converged: peer-0, peer-1 and peer-2 hold three states of note"]
    {
        assert!(texts.iter().any(|text| text == expected), "{expected} is missing in {texts:?}");
    }
    assert!(!texts.iter().any(|text| text.contains("keep-alive")), "only the slice is drawn");
}

#[test]
fn a_picture_shows_when_a_peer_did_not_run() {
    let elements = elements_of(&crash_in_the_middle().to_svg());
    // Each of the three is away before it starts.
    assert_eq!((elements["rect.down"], elements["rect.paused"]), (3 + 1, 1));
    let elements = elements_of(&loop_in_a_triangle().to_svg());
    assert_eq!(elements["rect.down"], 3);
}

#[test]
fn a_page_holds_the_versions_under_letters_and_one_colour_each() {
    let data = data_of(&divergence_after_a_partition().to_html());
    assert_eq!(data["lanes"], 3);
    let note = &data["documents"][0];
    assert_eq!(note["id"], "note", "the violation's document comes first");
    let letters: Vec<&str> = note["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|version| version["letter"].as_str())
        .collect();
    assert_eq!(letters, ["A", "B", "C", "D"]);
    let last: Vec<&Value> = (0..3)
        .map(|lane| note["lanes"][lane].as_array().expect("a list").last().expect("it has it"))
        .map(|holding| {
            &note["versions"][usize::try_from(holding[1].as_u64().expect("a place")).expect("few")]
        })
        .collect();
    let mut colours: Vec<u64> =
        last.iter().map(|version| version["colour"].as_u64().expect("a place")).collect();
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), 3, "three states, three colours");
    assert_eq!(note["versions"][3]["heads"].as_array().map(Vec::len), Some(2), "a conflict has two heads");
}

#[test]
fn at_any_moment_equal_colours_are_equal_versions() {
    let data = data_of(&busy(6, 4_000).to_html());
    let mut versions_total = 0;
    for document in data["documents"].as_array().expect("a list") {
        let versions = document["versions"].as_array().expect("a list");
        versions_total += versions.len();
        let mut holdings: Vec<(u64, usize, Option<usize>)> = Vec::new();
        for (lane, changes) in document["lanes"].as_array().expect("a list").iter().enumerate() {
            for change in changes.as_array().expect("a list") {
                let version = change[1].as_u64().map(|place| usize::try_from(place).expect("few"));
                holdings.push((change[0].as_u64().expect("an index"), lane, version));
            }
        }
        holdings.sort_unstable();
        let mut now: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        // A version that comes back keeps its colour, which another may have got meanwhile; the rule is for new ones.
        let mut seen = 0;
        for (_, lane, version) in holdings {
            now.insert(lane, version);
            let Some(version) = version.filter(|version| *version == seen) else { continue };
            seen += 1;
            let equals =
                now.values().flatten().filter(|it| versions[**it]["colour"] == versions[version]["colour"]);
            assert!(equals.into_iter().all(|it| *it == version), "{}", document["id"]);
        }
    }
    assert!(versions_total > 200, "colours had to be used again: {versions_total}");
}

#[test]
fn a_wiped_device_holds_nothing_and_a_restored_one_what_its_backup_held() {
    let mut room = Room::of(3);
    room.write(0, "note", "1");
    room.begin_fault(1, "backup", &[0], FaultKind::Backup { peer: PeerNumber(0) });
    room.write(0, "note", "2");
    room.begin_fault(2, "restore", &[0], FaultKind::Restore { peer: PeerNumber(0) });
    room.begin_fault(3, "clone", &[0, 2], FaultKind::Clone { peer: PeerNumber(0), into: PeerNumber(2) });
    room.begin_fault(4, "wipe", &[0], FaultKind::Wipe { peer: PeerNumber(0) });
    let data = data_of(&room.violated("reads", "wrong", None, Some("note")).to_html());
    let versions = |lane: usize| -> Vec<Option<u64>> {
        let changes = data["documents"][0]["lanes"][lane].as_array().expect("a list");
        changes.iter().map(|change| change[1].as_u64()).collect()
    };
    assert_eq!(versions(0), [Some(0), Some(1), Some(0), None]);
    assert_eq!(versions(2), [Some(0)]);
}

#[test]
fn a_page_says_what_it_leaves_out_and_keeps_the_slice() {
    let report = busy(5, 110_000);
    let page = report.to_html();
    let data = data_of(&page);
    assert_eq!(data["events"].as_array().map(Vec::len), Some(100_000));
    assert!(data["left_out"][0].as_str().expect("a text").contains("of 11"), "{}", data["left_out"]);
    let slice = peerloom_sim::causal_slice(&report.trace, report.violation.as_ref().expect("violated"));
    assert_eq!(data["slice"].as_array().map(Vec::len), Some(slice.len()));
    assert!(page.len() < 64 << 20);
    assert!(report.to_svg().contains("events left out here"));
    assert!(report.to_text(100).contains("events left out here"));
}

#[test]
fn a_long_document_is_cut_and_the_page_says_so() {
    let mut room = Room::of(2);
    room.write(0, "note", &format!("\"{}\"", "ä".repeat(400_000)));
    let data = data_of(&room.violated("reads", "wrong", None, Some("note")).to_html());
    let view = data["documents"][0]["versions"][0]["view"].as_str().expect("a view");
    assert!(view.len() <= 65 * 1_024 && view.ends_with('…'));
    assert!(data["left_out"][0].as_str().expect("a text").contains("1 long text"), "{}", data["left_out"]);
}

#[test]
fn nothing_that_a_stranger_wrote_becomes_markup_or_a_command_to_a_terminal() {
    let report = hostile();
    let data = data_of(&report.to_html());
    assert_eq!(data["scenario"], "</title><script>document.title='owned'</script>{{program}}");
    let view = data["documents"][0]["versions"][0]["view"].as_str().expect("a view");
    assert!(view.contains("</script><script>"), "it is shown as it is");

    let elements = elements_of(&report.to_svg());
    assert!(elements.keys().all(|element| !element.starts_with("script") && !element.starts_with('b')));
    assert_eq!(elements["svg."], 1);

    for line in report.to_text(80).lines() {
        assert!(!line.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn columns_keep_to_their_width_and_show_each_lane() {
    for (report, columns) in [
        (divergence_after_a_partition(), 80),
        (loop_in_a_triangle(), 120),
        (busy(6, 2_000), 72),
        (hostile(), 60),
        (crash_in_the_middle(), 50),
    ] {
        let text = report.to_text(columns);
        let too_wide = text.lines().find(|line| line.width() > columns && !line.contains("replay"));
        assert_eq!(too_wide, None);
    }
    let text = divergence_after_a_partition().to_text(100);
    let row = |words: &str| text.lines().find(|line| line.contains(words)).expect(words).to_owned();
    let lanes = row("violated: converged")[10..34].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lanes, ["C", "D", "B"], "three peers, three versions:\n{text}");
    assert!(row("peer-1 receives #0 from peer-0").contains("A──────>"), "{text}");
    assert!(text.contains("s later"), "idle time is folded:\n{text}");
    assert!(text.contains("cargo run -p todos -- replay 17.json\n"));
}

#[test]
fn a_run_that_held_and_an_empty_one_have_reports_too() {
    let mut room = Room::of(2);
    room.write(0, "note", "1");
    let held = room.held();
    assert!(held.to_text(80).contains("Every check held."));
    let empty = Report { trace: peerloom_sim::Trace::default(), ..held.clone() };
    let lost = Event { at_us: 0, peer: Some(PeerNumber(40)), what: What::Connected { to: PeerNumber(41) } };
    let beyond = Report { trace: peerloom_sim::Trace { events: vec![lost] }, ..held.clone() };
    for report in [held, empty, beyond] {
        data_of(&report.to_html());
        elements_of(&report.to_svg());
        assert!(!report.to_text(0).is_empty());
    }
}
