//! Media types by the ends of names.
//!
//! A table. It never looks into a file: what an artifact is called is all that is known of it.

/// What stands for a name without a known end (RFC 2046, section 4.5.1).
pub const UNKNOWN: &str = "application/octet-stream";

/// Ends of names, in lower case, and their types (RFC 6838 registrations).
const TYPES: [(&str, &str); 37] = [
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("out", "text/plain; charset=utf-8"),
    ("err", "text/plain; charset=utf-8"),
    ("diff", "text/x-diff; charset=utf-8"),
    ("patch", "text/x-diff; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("tsv", "text/tab-separated-values; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("ndjson", "application/x-ndjson"),
    ("torn", "application/octet-stream"),
    ("cast", "application/x-asciicast"),
    ("sarif", "application/sarif+json"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tgz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("zst", "application/zstd"),
    ("wasm", "application/wasm"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
];

/// The type of what has this name.
pub fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((_, end)) = name.rsplit_once('.') else {
        return UNKNOWN;
    };
    let end = end.to_ascii_lowercase();
    TYPES
        .iter()
        .find(|(known, _)| *known == end)
        .map_or(UNKNOWN, |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_follows_from_the_end_of_the_name() {
        for (path, media_type) in [
            ("report.HTML", "text/html; charset=utf-8"),
            ("a.b/c", UNKNOWN),
            ("x/results.json", "application/json"),
            ("archive.tar.gz", "application/gzip"),
            (".", UNKNOWN),
        ] {
            assert_eq!(of(path), media_type, "{path}");
        }
    }
}
