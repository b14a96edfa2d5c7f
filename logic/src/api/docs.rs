//! `/docs`: the description of the API for people. One page without scripts, made from the document itself.

use std::fmt::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use common::http1::{Answer, ok};
use common::problem::Problem;
use http::request::Parts as Head;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::{openapi, query};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
    code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f5f6f8;padding:.7rem;overflow:auto;border-radius:4px}\
    article{border-top:1px solid #ddd;padding:.6rem 0}h3{margin:.4rem 0}b.m{display:inline-block;min-width:4.5rem;color:#0a5}\
    table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}summary{cursor:pointer}\
    @media(prefers-color-scheme:dark){body{background:#15171a;color:#ddd}pre{background:#1e2126}article{border-color:#333}b.m{color:#4c9}}";

/// `GET /docs`.
pub(super) fn page(head: &Head) -> Result<Answer, Problem> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    query::read(head.uri.query(), &[])?;
    let text = TEXT.get_or_init(|| Bytes::from(render(&openapi::build())));
    let mut answer = ok("text/html; charset=utf-8", text.clone());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    let nosniff: HeaderName = header::X_CONTENT_TYPE_OPTIONS;
    answer.headers_mut().insert(nosniff, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}: the API</title><style>{STYLE}</style><h1>{0} {1}</h1><p>{2}</p>\
         <p>For programs: <a href=\"/openapi.json\">/openapi.json</a>, <a href=\"/asyncapi.json\">/asyncapi.json</a>.</p>",
        text(&info["title"]),
        text(&info["version"]),
        text(&info["description"])
    );
    let none = Map::new();
    let mut last = String::new();
    for (path, operations) in document["paths"].as_object().unwrap_or(&none) {
        for (method, operation) in operations.as_object().unwrap_or(&none) {
            if method == "parameters" {
                continue;
            }
            let tag = text(&operation["tags"][0]);
            if tag != last {
                let _ = write!(page, "<h2>{tag}</h2>");
                last = tag;
            }
            let shared = operations["parameters"].as_array().into_iter().flatten();
            let own = operation["parameters"].as_array().into_iter().flatten();
            article(&mut page, &method.to_uppercase(), path, operation, shared.chain(own));
        }
    }
    page += "<h2>schemas</h2>";
    for (name, schema) in document["components"]["schemas"].as_object().unwrap_or(&none) {
        let _ = write!(
            page,
            "<details id=\"{0}\"><summary><code>{0}</code></summary>{1}</details>",
            escape(name),
            pretty(schema)
        );
    }
    page
}

fn article<'a>(
    page: &mut String,
    method: &str,
    path: &str,
    operation: &Value,
    parameters: impl Iterator<Item = &'a Value>,
) {
    let summary = text(&operation["summary"]);
    let _ = write!(
        page,
        "<article><h3><b class=\"m\">{method}</b> <code>{}</code></h3><p>{summary}</p><table>",
        escape(path)
    );
    for parameter in parameters {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let _ = write!(page, "<tr><td><code>{name}</code><td>{place}<td>{}", text(&parameter["description"]));
    }
    *page += "</table>";
    let none = Map::new();
    for (media_type, content) in operation["requestBody"]["content"].as_object().unwrap_or(&none) {
        let _ = write!(
            page,
            "<details><summary>takes <code>{}</code></summary>{}</details>",
            escape(media_type),
            pretty(&content["schema"])
        );
    }
    for (status, response) in operation["responses"].as_object().unwrap_or(&none) {
        let schema = &response["content"]["application/json"]["schema"];
        let words = text(&response["description"]);
        if schema.is_null() {
            let _ = write!(page, "<div><code>{status}</code> {words}</div>");
        } else {
            let _ = write!(
                page,
                "<details><summary><code>{status}</code> {words}</summary>{}</details>",
                pretty(schema)
            );
        }
    }
    *page += "</article>";
}

fn pretty(schema: &Value) -> String {
    format!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(schema).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_path_and_asks_nobody_outside() {
        let document = openapi::build();
        let page = render(&document);
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
        assert_eq!(escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
