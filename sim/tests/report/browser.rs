//! The page in a real browser: it renders, it can be clicked and walked through by keys, and nothing stands on anything else.
//!
//! Each page and a picture of it are kept in cargo's directory for the files of tests, to be looked at.

use std::fs;
use std::path::Path;

use peerloom_sim::causal_slice;
use serde_json::json;

use crate::driver::Browser;
use crate::traces::{busy, crash_in_the_middle, divergence_after_a_partition, hostile, loop_in_a_triangle};

const WINDOW: (u32, u32) = (1400, 950);
const ARROW_UP: char = '\u{e013}';
const END: char = '\u{e010}';

/// Rectangles of a kind that stand on each other, as pairs of their texts.
fn overlaps(browser: &Browser, selector: &str) -> String {
    browser.text(&format!(
        "(() => {{
            const seen = [...document.querySelectorAll({selector:?})].filter((it) => it.textContent !== '');
            const boxes = seen.map((it) => [it.getBoundingClientRect(), it.textContent]).sort(([a], [b]) => a.top - b.top);
            const pairs = [];
            for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {{
                const [[a, left], [b, right]] = [boxes[i], boxes[j]];
                if (b.top >= a.bottom - 1) break;
                if (a.left < b.right - 1 && b.left < a.right - 1) pairs.push(`${{left}} / ${{right}}`);
            }}
            return pairs.join('; ');
        }})()"
    ))
}

fn assert_tidy(browser: &Browser) {
    assert_eq!(browser.complaints(), [] as [String; 0]);
    for selector in ["#words .line, #words .gap span", "#words .at", "#heads span", "nav > *, header > *"] {
        assert_eq!(overlaps(browser, selector), "", "{selector}");
    }
    let wide = browser.value("document.documentElement.scrollWidth > window.innerWidth");
    assert_eq!(wide, false, "the page itself does not scroll sideways");
}

#[test]
fn a_page_shows_the_slice_and_a_click_shows_what_changed() {
    let report = divergence_after_a_partition();
    let Some(browser) = Browser::open("divergence", &report, WINDOW) else { return };
    assert_tidy(&browser);
    browser.keep_picture("divergence");
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-divergence.svg");
    fs::write(picture, report.to_svg()).expect("the directory for the files of tests can be written");
    let slice = causal_slice(&report.trace, report.violation.as_ref().expect("violated")).len();
    assert_eq!(browser.value("document.querySelectorAll('#words .row[id]').length"), slice);
    assert_eq!(browser.value("document.querySelectorAll('#heads span').length"), 4);
    assert_eq!(browser.text("document.getElementById('verdict').textContent"), "✕ Violated");
    assert!(browser.text("document.getElementById('panel').textContent").contains("3 states"));

    // The commit with which the other side of the partition wrote.
    let commits = "[...document.querySelectorAll('#words .row')].filter((it) => it.textContent.includes('commits note (B)'))";
    let commit = browser.text(&format!("{commits}[0].id"));
    browser.click(&format!("#{commit} .line"));
    let changed = |kind: &str| {
        browser.text(&format!(
            "[...document.querySelectorAll('.difference .{kind}')].map((it) => it.textContent).join('|')"
        ))
    };
    assert_eq!(
        (changed("removed"), changed("added")),
        ("-     \"bread\"".to_owned(), "+     \"eggs\"".to_owned())
    );
    assert_eq!(browser.text("document.querySelector('.change').textContent"), "A→Bnote");
    assert_eq!(
        browser.text(&format!("document.getElementById('{commit}').getAttribute('aria-selected')")),
        "true"
    );
    browser.keep_picture("divergence-commit");
}

#[test]
fn a_click_on_an_arrow_shows_its_payload_and_leads_to_the_other_end() {
    let Some(browser) = Browser::open("arrow", &divergence_after_a_partition(), WINDOW) else { return };
    let middle = browser.value(
        "(() => {
            const arrow = document.querySelector('.message[data-message=\"0\"] .reach');
            arrow.scrollIntoView({ block: 'center' });
            const box = arrow.getBoundingClientRect();
            return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
        })()",
    );
    browser.click_at(middle[0].as_i64().expect("a number"), middle[1].as_i64().expect("a number"));
    let panel = || browser.text("document.getElementById('panel').textContent");
    assert!(panel().contains("sends #0 to peer-1") && panel().contains("changes: note"), "{}", panel());
    assert!(panel().contains("It arrived 20 ms later."), "{}", panel());
    browser.click("#panel .links button");
    assert!(panel().contains("receives #0 from peer-0"), "{}", panel());
    assert_tidy(&browser);
}

#[test]
fn keys_walk_through_the_events_and_the_switch_shows_all_of_them() {
    let report = crash_in_the_middle();
    let Some(browser) = Browser::open("crash", &report, WINDOW) else { return };
    browser.keep_picture("crash");
    let chosen = || browser.text("document.querySelector('[aria-selected=true]').id");
    let last = report.trace.events.len() - 1;
    assert_eq!(chosen(), format!("event-{last}"), "a page begins at the violation");
    browser.value("document.getElementById('diagram').focus()");
    browser.press(ARROW_UP);
    assert_ne!(chosen(), format!("event-{last}"));
    browser.press(END);
    assert_eq!(chosen(), format!("event-{last}"));
    browser.click("#everything");
    let rows = browser.value("document.querySelectorAll('#words .row[id]').length");
    assert_eq!(rows, report.trace.events.len());
    browser.click("#legend summary");
    assert_tidy(&browser);
    browser.keep_picture("crash-legend");
}

#[test]
fn a_busy_room_is_tidy_at_every_zoom_and_in_the_dark() {
    let Some(browser) = Browser::open("busy", &busy(6, 2_000), WINDOW) else { return };
    assert_tidy(&browser);
    browser.keep_picture("busy");
    browser.click("#everything");
    browser.keep_picture("busy-everything");
    for steps in 0..3 {
        browser.click("#further");
        assert_tidy(&browser);
        browser.keep_picture(&format!("busy-further-{steps}"));
    }
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.pretend("Emulation.setEmulatedMedia", &dark);
    browser.click("#slice");
    browser.click("#closer");
    browser.click("#closer");
    browser.click("#closer");
    assert_tidy(&browser);
    browser.keep_picture("busy-dark");
    let documents = browser.value("document.getElementById('document').options.length");
    assert_eq!(documents, 40);
    browser.value("(document.getElementById('document').value = '3', document.getElementById('document').dispatchEvent(new Event('change')))");
    assert!(browser.text("document.getElementById('slice').textContent").starts_with("What made it ("));
    assert_tidy(&browser);
}

#[test]
fn a_hundred_thousand_events_draw_no_more_than_what_is_in_sight() {
    let report = busy(5, 110_000);
    let Some(browser) = Browser::open("large", &report, WINDOW) else { return };
    browser.click("#everything");
    let drawn = || browser.value("document.querySelectorAll('#sheet *').length").as_u64().expect("a number");
    assert!(drawn() < 4_000, "{} elements", drawn());
    let last = report.trace.events.len() - 1;
    assert_eq!(browser.value(&format!("document.getElementById('event-{last}') !== null")), true);
    browser.click("#overview");
    assert!(drawn() < 4_000, "{} elements", drawn());
    assert!(
        browser
            .text("document.getElementById('left-out').textContent")
            .contains("the page has room for 100000")
    );
    assert_tidy(&browser);
    browser.keep_picture("large");
}

#[test]
fn a_narrow_window_a_loop_and_a_printer_are_served_too() {
    let Some(browser) = Browser::open("loop", &loop_in_a_triangle(), (700, 900)) else { return };
    assert_tidy(&browser);
    browser.keep_picture("loop-narrow");
    browser.value("window.dispatchEvent(new Event('beforeprint'))");
    browser.pretend("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    browser.keep_picture("loop-print");
    let rows = browser.value("document.querySelectorAll('#words .row[id]').length");
    assert_eq!(rows, browser.value("JSON.parse(document.getElementById('data').textContent).slice.length"));
}

#[test]
fn a_hostile_document_is_shown_and_not_obeyed() {
    let Some(browser) = Browser::open("hostile", &hostile(), WINDOW) else { return };
    assert_eq!(browser.text("document.title"), "</title><script>document.title='owned'</script>{{program}}");
    assert_eq!(browser.value("document.querySelectorAll('script').length"), 2);
    assert_eq!(browser.value("document.querySelectorAll('img, [onload], [onerror]').length"), 0);
    browser.click("#words .row[id]:nth-child(5) .line");
    assert!(browser.text("document.getElementById('panel').textContent").contains("</script><script>"));
    assert_tidy(&browser);
    browser.keep_picture("hostile");
}
