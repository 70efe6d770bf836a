//! A real Chromium, driven by WebDriver (a recommendation of the W3C) through a chromedriver of its own.
//!
//! The protocol is spoken here, since the crates that speak it turn on `preserve_order` of `serde_json`: the daemon of the
//! tests would then be another one than that which is shipped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::keeper::{self, OnOurDeath};
use super::servers::program;
use super::{PATIENCE, eventually, scratch};

/// What chromedriver says when it listens.
const LISTENS: &str = "started successfully on port ";

/// The name of elements in answers, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no character, by the standard.
pub mod key {
    pub const BACKSPACE: &str = "\u{e003}";
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const LEFT: &str = "\u{e012}";
    pub const RIGHT: &str = "\u{e014}";
}

/// A browser with a profile of its own. Dropped, it ends with its chromedriver.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    client: reqwest::Client,
    profile: PathBuf,
}

impl Browser {
    /// One with a window of 1280×720, that sounds only after a touch, as on a desk.
    pub async fn start() -> Self {
        Self::start_with(1280, 720, &[]).await
    }

    /// As [`Browser::start`], with a window of this size and further arguments.
    pub async fn start_with(width: u32, height: u32, arguments: &[&str]) -> Self {
        let profile = scratch::folder("b");
        let (driver, port) = start_driver(&profile);
        // Not through a proxy of this machine.
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2).build().expect("a client can be made");
        let mut browser = Self { driver, port, session: String::new(), client, profile };
        let mut all = vec![
            "--headless=new".to_owned(),
            // There is none for root.
            "--no-sandbox".to_owned(),
            // With the pipe it ends when its chromedriver does, however that ends.
            "--remote-debugging-pipe".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            "--mute-audio".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--lang=en".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", browser.profile.join("profile").display()),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let binary = program("chromium").expect("chromium is installed: `make test` sees to it");
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": binary, "args": all },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let begun = browser.ask("POST", "", &wish).await;
        browser.session = begun["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}")).to_owned();
        // Of the page, whatever the frame of the window takes.
        browser.resize(width, height, 1.0).await;
        browser
    }

    /// Gives the page this size, and this many pixels of the screen for each of its own.
    pub async fn resize(&self, width: u32, height: u32, scale: f64) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url })).await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.ask("POST", "/refresh", &json!({})).await;
    }

    /// What the body of a function in the page returns.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// As [`Browser::run`], of a function that ends when it calls `done` with its result.
    pub async fn run_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1];\n{script}");
        self.ask("POST", "/execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};")).await
    }

    /// The value of an expression, once it is neither null nor false.
    pub async fn until(&self, expression: &str) -> Value {
        self.until_within(PATIENCE, expression).await
    }

    /// As [`Browser::until`], with a deadline of its own.
    pub async fn until_within(&self, deadline: Duration, expression: &str) -> Value {
        let holds = async || {
            let value = self.value(expression).await;
            (!value.is_null() && value != json!(false)).then_some(value)
        };
        match tokio::time::timeout(deadline, eventually(PATIENCE * 10, holds)).await {
            Ok(value) => value,
            Err(_) => {
                let page = self.value("document.documentElement.outerHTML").await;
                let said = self.log("browser").await;
                panic!("not within {deadline:?}: {expression}\n{page}\n{said:#?}")
            }
        }
    }

    /// The text of an element of the shell, as it is seen.
    pub async fn text(&self, hook: &str) -> String {
        let text = self.value(&format!("{}.innerText.trim()", by_hook(hook))).await;
        text.as_str().unwrap_or_else(|| panic!("{hook} has no text: {text}")).to_owned()
    }

    /// Clicks on what a selector finds, as a person does: it has to be seen, and nothing may lie above it.
    pub async fn click(&self, selector: &str) {
        let found = self.ask("POST", "/element", &json!({ "using": "css selector", "value": selector })).await;
        let element = found[ELEMENT].as_str().unwrap_or_else(|| panic!("no {selector}: {found}"));
        self.ask("POST", &format!("/element/{element}/click"), &json!({})).await;
    }

    /// Presses keys one after the other; [`key`] names those without a character.
    pub async fn press(&self, keys: &str) {
        let presses = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })));
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": presses.collect::<Vec<_>>() }] });
        self.ask("POST", "/actions", &actions).await;
    }

    /// A command of Chromium's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    /// Opens a further tab, which is the current one from here on.
    pub async fn open_tab(&self, url: &str) -> String {
        let tab = self.ask("POST", "/window/new", &json!({ "type": "tab" })).await;
        let tab = tab["handle"].as_str().expect("a handle").to_owned();
        self.switch_to(&tab).await;
        self.open(url).await;
        tab
    }

    /// The current tab.
    pub async fn tab(&self) -> String {
        self.ask("GET", "/window", &Value::Null).await.as_str().expect("a handle").to_owned()
    }

    pub async fn switch_to(&self, tab: &str) {
        self.ask("POST", "/window", &json!({ "handle": tab })).await;
    }

    pub async fn close_tab(&self) {
        self.ask("DELETE", "/window", &Value::Null).await;
    }

    /// What was written to one of its logs since it was last asked for: `browser` (the console), `performance`.
    pub async fn log(&self, name: &str) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": name })).await;
        let lines = log.as_array().expect("a list of messages").iter();
        lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The events of Chromium's own protocol since they were last asked for: each a `method` with its `params`.
    pub async fn events(&self) -> Vec<Value> {
        let lines = self.log("performance").await.into_iter();
        lines.filter_map(|line| Some(serde_json::from_str::<Value>(&line).ok()?["message"].take())).collect()
    }

    /// The page as it is seen, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let picture = self.ask("GET", "/screenshot", &Value::Null).await;
        let picture = picture.as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD.decode(picture).expect("Base64")
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let session = if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let url = format!("http://127.0.0.1:{}/session{session}{path}", self.port);
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, url);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{path} {body}: {error:?}"));
        let is_ok = answer.status().is_success();
        let mut answer: Value = answer.json().await.unwrap_or_else(|error| panic!("{path} {body}: {error:?}"));
        assert!(is_ok, "{path} {body}: {answer:#}");
        answer["value"].take()
    }
}

/// The element of the shell with a `data-hook`, as an expression.
pub fn by_hook(hook: &str) -> String {
    format!("document.querySelector('[data-hook=\"{hook}\"]')")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // So that it writes no more into its folder.
        quit(self.port, &self.session).ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
        remove(&self.profile);
    }
}

/// Ends a session and waits for that.
fn quit(port: u16, session: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    stream.read_exact(&mut [0; 1])?;
    Ok(())
}

/// What is not removed here is removed with the folders of this run.
fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
}

/// Its home is the folder, where its browser puts what it puts into every home.
fn start_driver(home: &Path) -> (Child, u16) {
    let program = program("chromedriver").expect("chromium-driver is installed: `make test` sees to it");
    let mut command = Command::new(program);
    command.arg("--port=0");
    let mut wrapped = keeper::wrap(&command, OnOurDeath::Kill);
    wrapped.env("HOME", home).current_dir("/");
    wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = keeper::spawn(wrapped).expect("setpriv (of util-linux) can be started");
    let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
    let (found, port) = channel();
    std::thread::spawn(move || {
        // To the end: it must not wait for a reader.
        for line in lines.map_while(Result::ok) {
            if let Some((_, port)) = line.split_once(LISTENS) {
                found.send(port.trim_end_matches('.').parse::<u16>()).ok();
            }
        }
    });
    let port = port.recv_timeout(PATIENCE).expect("chromedriver listens").expect("a port");
    (driver, port)
}
