//! The page for the newcomer: three files, in the program.

use common::http1::{Answer, ok};
use http::{HeaderValue, header};

/// Paths, media types, files.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../../page/index.html")),
    ("/page/index.html", "text/html; charset=utf-8", include_str!("../../page/index.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("../../page/page.css")),
    ("/page/page.js", "text/javascript; charset=utf-8", include_str!("../../page/page.js")),
];

/// The file at a path.
pub(super) fn find(path: &str) -> Option<Answer> {
    let (_, media_type, text) = FILES.iter().find(|(at, ..)| *at == path)?;
    let mut answer = ok(media_type, *text);
    let headers = answer.headers_mut();
    // The files change with the program only, and are small: asked for each time, they are never stale.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(answer)
}
