//! The console in a real browser, on a screen of a phone's width: somebody opens it, sends
//! pictures, and sees replicas come and go.

use std::path::{Path, PathBuf};

use fantoccini::{Client, Locator};
use serde_json::Value;

use crate::browser::{Browser, count, text};
use crate::local_mode::{LocalMode, PATIENCE};

/// Has the page note which phases its replicas were shown in: one may pass between two looks from here.
const NOTE_PHASES: &str = "
    window.phases = new Set();
    const replicas = document.getElementById('replicas');
    const note = () => replicas.querySelectorAll('li').forEach(one => window.phases.add(one.dataset.phase));
    new MutationObserver(note).observe(replicas, {subtree: true, childList: true, attributes: true});
";

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_sees_replicas_come_and_go() {
    let up = LocalMode::start(&[]).await;
    let picture = picture(up.folder.path());
    let browser = Browser::start().await;
    let (page, url) = (browser.client.clone(), format!("http://{}/", up.console));
    browser.visit(async move { visit(&page, &url, &picture).await }).await;
}

async fn visit(page: &Client, url: &str, picture: &Path) {
    page.goto(url).await.unwrap();
    wait_for(page, "#link.live").await;
    assert_eq!(text(page, "ready").await, "0");
    assert_eq!(count(page, "#replicas li").await, 0);
    assert!(text(page, "none").await.contains("Nothing runs"));
    assert!(fits(page).await, "the page is wider than the screen");

    page.execute(NOTE_PHASES, Vec::new()).await.unwrap();
    send(page, picture, 5).await;
    wait_for(page, "#replicas li[data-phase=ready]").await;
    wait_for(page, "#answer li").await;
    let phases = page.execute("return [...window.phases]", Vec::new()).await.unwrap();
    assert!(phases.as_array().unwrap().contains(&"starting".into()), "{phases}");
    assert!(text(page, "answer").await.contains("5 of 5 answered"));
    assert_ne!(text(page, "ready").await, "0");
    assert!(text(page, "spend").await.starts_with('$'));
    assert!(count(page, "#decisions li").await > 0, "no decision was explained");
    assert!(fits(page).await, "the page is wider than the screen");

    wait_for(page, "#replicas:empty").await;
    assert_eq!(text(page, "ready").await, "0");
    assert_eq!(text(page, "lost").await, "0");
}

/// A picture where a browser can pick it up.
fn picture(folder: &Path) -> PathBuf {
    let path = folder.join("picture.png");
    std::fs::write(&path, crate::local_mode::picture()).unwrap();
    path
}

/// Fills in the form as a visitor would.
async fn send(page: &Client, picture: &Path, times: u32) {
    let field = async |id| page.find(Locator::Id(id)).await.unwrap();
    field("picture").await.send_keys(picture.to_str().unwrap()).await.unwrap();
    let often = field("times").await;
    often.clear().await.unwrap();
    often.send_keys(&times.to_string()).await.unwrap();
    page.find(Locator::Css("#classify button")).await.unwrap().click().await.unwrap();
}

async fn wait_for(page: &Client, selector: &str) {
    let found = page.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await;
    if let Err(error) = found {
        panic!("{selector} never showed ({error}); the page:\n{}", page.source().await.unwrap());
    }
}

async fn fits(page: &Client) -> bool {
    let script = "return document.documentElement.scrollWidth <= window.innerWidth";
    page.execute(script, Vec::new()).await.unwrap() == Value::Bool(true)
}
