//! A browser, spoken to by the W3C's `WebDriver` protocol: as much of it as these tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// What an element is called in answers (W3C `WebDriver`, "web element identifier").
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A size of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Desktop,
    Phone,
}

impl Size {
    pub const ALL: [Self; 2] = [Self::Desktop, Self::Phone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Phone => "phone",
        }
    }
}

/// A browser with one window; it ends when this is dropped.
pub struct Browser {
    driver: Child,
    http: reqwest::Client,
    session: String,
    base: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; one whose driver is killed stays. A test that fails is not to fail twice.
        let _ = self.leave();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Opens one for the pages at `base`, in a language as `en` or `ko`.
    pub async fn open(base: &str, size: Size, language: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (Debian: chromium-driver)");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = tokio::task::spawn_blocking(move || {
            let mut lines = lines.map_while(Result::ok);
            let line = lines.find(|line| line.contains("started successfully on port")).expect("it starts");
            // What else it says is not to fill its pipe.
            std::thread::spawn(move || lines.for_each(drop));
            line.trim_end_matches('.').rsplit(' ').next().unwrap().to_owned()
        });
        let port = port.await.unwrap();
        dari::connectors::client::Client::new().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        // A page that the browser holds to be in the background is drawn when it likes, and a picture waits for that.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--disable-renderer-backgrounding",
            "--disable-backgrounding-occluded-windows",
            "--disable-background-timer-throttling",
        ];
        let options = json!({ "args": arguments, "prefs": { "intl.accept_languages": language } });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let url = format!("http://127.0.0.1:{port}/session");
        let answer: Value = http.post(&url).json(&wanted).send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}"));
        let browser = Self { driver, http, session: format!("{url}/{id}"), base: base.to_owned() };
        let (width, height, mobile) = match size {
            Size::Desktop => (1280, 900, false),
            Size::Phone => (390, 844, true),
        };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        browser
    }

    /// Ends the session, without a runtime: there may be none any more.
    fn leave(&self) -> std::io::Result<()> {
        let (host, path) = self.session["http://".len()..].split_once('/').unwrap_or_default();
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        // Its answer begins when it is done; it does not close the connection.
        stream.read_exact(&mut [0])
    }

    async fn call(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.http.post(format!("{}/{path}", self.session)).json(body).send().await.unwrap();
        let good = answer.status().is_success();
        let answer: Value = answer.json().await.unwrap();
        if good { Ok(answer["value"].clone()) } else { Err(answer["value"]["message"].to_string()) }
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("goog/cdp/execute", &body).await.unwrap()
    }

    /// Dark or light.
    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", feature).await;
    }

    pub async fn go(&self, path: &str) {
        self.call("url", &json!({ "url": format!("{}{path}", self.base) })).await.unwrap();
    }

    /// Runs a function body in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.call("execute/sync", &json!({ "script": script, "args": [] })).await.unwrap()
    }

    /// Waits until there is an element, and gives it.
    pub async fn find(&self, selector: &str) -> Element<'_> {
        let body = json!({ "using": "css selector", "value": selector });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.call("element", &body).await {
                Ok(found) => return Element { browser: self, id: found[ELEMENT].as_str().unwrap().to_owned() },
                Err(why) if tokio::time::Instant::now() > deadline => {
                    panic!("{selector}: {why}\n{}", self.text().await)
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until the page says something.
    pub async fn says(&self, words: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text().await;
            if text.contains(words) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {words:?} in:\n{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What can be read on the page.
    pub async fn text(&self) -> String {
        self.run("return document.body ? document.body.innerText : ''").await.as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key, as a keyboard does.
    pub async fn press(&self, key: &str) {
        let keys = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] });
        self.call("actions", &actions).await.unwrap();
    }

    /// Writes a picture of the whole page.
    pub async fn picture(&self, name: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        let shot = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", shot).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }
}

/// Something on the page.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Element<'_> {
    pub async fn click(&self) {
        self.browser.call(&format!("element/{}/click", self.id), &json!({})).await.unwrap();
    }

    pub async fn write(&self, text: &str) {
        self.browser.call(&format!("element/{}/value", self.id), &json!({ "text": text })).await.unwrap();
    }
}
