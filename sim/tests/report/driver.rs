//! A browser, driven through ChromeDriver as a person would: clicks and keys arrive where the pointer and the focus are.
//!
//! Speaks the few words of the WebDriver protocol that the tests need, over HTTP on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use peerloom_sim::Report;
use serde_json::{Value, json};

/// Where `required`, a missing browser is a failure. Otherwise tests that need one are skipped, and say so.
const SETTING: &str = "BROWSER_TESTS";

/// A page, opened in a browser of its own.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Opens the page of a report in a window of this size. `None` if there is no browser here, which it says.
    pub(crate) fn open(name: &str, report: &Report, size: (u32, u32)) -> Option<Self> {
        let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.html"));
        fs::write(&page, report.to_html()).expect("the directory for the files of tests can be written");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut driver) = command.spawn() else {
            assert_ne!(env::var(SETTING).as_deref(), Ok("required"), "there is no chromedriver");
            eprintln!("skipped: there is no chromedriver here (on Debian: chromium and chromium-driver)");
            return None;
        };
        let port = port_of(&mut driver);
        let mut browser = Self { driver, port, session: String::new() };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--window-size={},{}", size.0, size.1),
        ];
        let options = json!({ "args": arguments });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let answer = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        answer["sessionId"].as_str().expect("a session has an id").clone_into(&mut browser.session);
        browser.command("/url", &json!({ "url": format!("file://{}", page.display()) }));
        Some(browser)
    }

    /// What a piece of JavaScript returns.
    pub(crate) fn value(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": format!("return {script}"), "args": [] }))
    }

    /// What a piece of JavaScript returns, as a text.
    pub(crate) fn text(&self, script: &str) -> String {
        match self.value(script) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Clicks into the middle of what a selector finds first, after scrolling it into sight.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.command("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("there is no {selector}"));
        self.command(&format!("/element/{id}/click"), &json!({}));
    }

    /// Clicks at a point of the window, onto whatever is there.
    pub(crate) fn click_at(&self, x: i64, y: i64) {
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "x": x, "y": y },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }),
        );
    }

    /// Presses a key.
    pub(crate) fn press(&self, key: char) {
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }),
        );
    }

    /// What the page complained about in the console.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().into_iter().flatten();
        entries.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Keeps a picture of the window beside the page, for people to look at.
    pub(crate) fn keep_picture(&self, name: &str) {
        let encoded = self.ask("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        let picture = from_base64(encoded.as_str().expect("a picture comes as a text"));
        let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
        fs::write(path, picture).expect("the directory for the files of tests can be written");
    }

    /// Pretends that the reader prefers dark pages, or prints.
    pub(crate) fn pretend(&self, command: &str, parameters: &Value) {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver listens");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.port,
            body.len(),
        );
        stream.write_all((head + &body).as_bytes()).expect("the driver reads");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("the driver answers");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).expect("the driver answers in full");
        let mut answer: Value = serde_json::from_slice(&answer).expect("the driver answers in JSON");
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver takes its browser with it only if the session is closed. Not `ask`, which may panic in a panic.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
                self.session, self.port,
            );
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that the driver chose, which it prints.
fn port_of(driver: &mut Child) -> u16 {
    let said = BufReader::new(driver.stdout.take().expect("the output is piped"));
    let port = said.lines().map_while(Result::ok).find_map(|line| {
        let port = line.split("started successfully on port ").nth(1)?;
        port.trim_end_matches('.').parse().ok()
    });
    port.expect("the driver says on which port it listens")
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut filled) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            bytes.push(u8::try_from(bits >> filled & 0xff).expect("eight bits are a byte"));
        }
    }
    bytes
}
