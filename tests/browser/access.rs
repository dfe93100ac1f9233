//! Whether everybody can use the pages: names of what can be used, contrast, and a focus that is seen.

use serde_json::{Value, json};

use crate::driver::{Browser, Size};
use crate::world::World;

const PAGES: [(&str, &str); 8] = [
    ("overview", "/"),
    ("events", "/journal"),
    ("journey", "/event?source=signup&id=res-5"),
    ("dead", "/dead"),
    ("letter", "/dead/1"),
    ("sinks", "/sinks"),
    ("sources", "/sources"),
    ("config", "/config"),
];

/// What cannot be told apart or has no name.
const LOOK: &str = r#"
const faults = [];
const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
const name = (e) => (e.getAttribute("aria-label") || e.innerText || e.textContent || e.title || "").trim();
for (const e of document.querySelectorAll("input:not([type=hidden]), select, meter"))
  if (!e.labels?.length && !e.getAttribute("aria-label")) faults.push("no label: " + e.outerHTML.slice(0, 120));
for (const e of document.querySelectorAll("a, button, summary"))
  if (seen(e) && !name(e)) faults.push("no name: " + e.outerHTML.slice(0, 120));
for (const e of document.querySelectorAll("img"))
  if (!e.hasAttribute("alt")) faults.push("no alt: " + e.outerHTML.slice(0, 120));
if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
if (!document.documentElement.lang) faults.push("no language");
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push("twice: " + id);
if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window: " + document.documentElement.scrollWidth);

const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const linear = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    if (e instanceof SVGElement && e.classList.contains("place")) return rgb(getComputedStyle(e.querySelector(".box")).fill);
    const [r, g, b, a] = rgb(getComputedStyle(e).backgroundColor);
    if (a === undefined || a === 1) return [r, g, b];
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !seen(e) || e.closest("script, title, .skip")) continue;
  const style = getComputedStyle(e);
  const ink = rgb(e instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
}
return faults;
"#;

#[tokio::test(flavor = "multi_thread")]
async fn everything_has_a_name_and_can_be_read() {
    let world = World::start(None).await;
    world.live().await;
    for size in Size::ALL {
        let browser = Browser::open(&world.admin, size, "ko").await;
        for dark in [false, true] {
            browser.dark(dark).await;
            for (name, path) in PAGES {
                browser.go(path).await;
                browser.find("main h1").await;
                let faults = browser.run(LOOK).await;
                assert_eq!(faults, json!([]), "{name} {} dark: {dark}", size.name());
                let shade = if dark { "-dark" } else { "" };
                browser.picture(&format!("{}-ko-{name}{shade}", size.name())).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_reaches_everything_and_its_place_is_seen() {
    const TAB: &str = "\u{E004}";
    const ENTER: &str = "\u{E007}";
    let world = World::start(None).await;
    let browser = Browser::open(&world.admin, Size::Desktop, "en").await;
    browser.go("/sinks").await;
    let wanted = browser
        .run("return [...document.querySelectorAll('a, button, summary')].filter((e) => e.checkVisibility()).length");
    let wanted = wanted.await.as_u64().unwrap();
    for reached in 0..wanted {
        browser.press(TAB).await;
        let here = browser
            .run(
                "const e = document.activeElement, s = getComputedStyle(e);
                 return { tag: e.tagName, text: e.innerText, outline: s.outlineStyle, width: parseFloat(s.outlineWidth) }",
            )
            .await;
        assert!(here["tag"] != "BODY", "after {reached} of {wanted}");
        assert!(here["outline"] == "solid" && here["width"].as_f64() >= Some(2.0), "{here}");
        if here["text"] == "Suspend…" {
            break;
        }
    }
    browser.press(ENTER).await;
    browser.press(TAB).await;
    let field: Value = browser.run("return document.activeElement.id").await;
    assert_eq!(field, "why-sink-crm", "it opened, and its field is next");
    browser.press(ENTER).await;
    browser.says("sink crm is suspended").await;
}
