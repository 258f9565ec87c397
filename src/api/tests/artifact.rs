//! Downloads.

use super::client::{exchange, get};
use super::fixture::Fixture;
use crate::recordings::RunDir;
use crate::recordings::artifact::ArtifactWriter;
use crate::recordings::manifest::Manifest;

fn with_artifacts() -> Fixture {
    let fixture = Fixture::start();
    let fd = std::fs::File::open(fixture.dir.path()).unwrap().into();
    let run = RunDir::from_fd(fd, fixture.dir.path().to_owned(), "run-1".parse().unwrap());
    let mut manifest = Manifest::new("run-1".parse().unwrap());
    for (path, media_type, content) in [
        ("trace.zip", "application/zip", b"0123456789".as_slice()),
        ("screenshots/1.jpg", "image/jpeg", b"jpeg"),
        ("evil.html", "text/html", b"<script>"),
        ("empty", "text/plain", b""),
    ] {
        let mut writer = ArtifactWriter::create(&run, path, media_type, 1 << 20).unwrap();
        writer.write(content).unwrap();
        let added = writer.finish().unwrap();
        manifest.add(&added, "2026-11-22T11:02:57.123Z").unwrap();
    }
    manifest.save(&run).unwrap();
    std::fs::write(fixture.dir.path().join("artifacts/unlisted"), b"not whole").unwrap();
    std::fs::write(fixture.dir.path().join("status.json"), b"secret").unwrap();
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_are_listed_and_downloaded_under_both_names() {
    let fixture = with_artifacts();
    let manifest = get(fixture.address, "/artifacts").await;
    assert_eq!(manifest.json()["artifacts"].as_array().unwrap().len(), 4);
    assert_eq!(
        get(fixture.address, "/recording/manifest").await.body,
        manifest.body
    );
    for path in [
        "/artifacts/trace.zip",
        "/recording/trace",
        "/artifacts/%74race.zip",
    ] {
        let response = get(fixture.address, path).await;
        assert_eq!(
            (response.status, response.text()),
            (200, "0123456789"),
            "{path}"
        );
        assert_eq!(response.header("content-type"), Some("application/zip"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert!(
            response
                .header("content-disposition")
                .unwrap()
                .starts_with("attachment; filename=\"trace.zip\"")
        );
    }
    let shot = get(fixture.address, "/recording/screenshots/1.jpg").await;
    assert_eq!(
        (shot.status, shot.text(), shot.header("content-type")),
        (200, "jpeg", Some("image/jpeg"))
    );
    assert_eq!(get(fixture.address, "/artifacts/empty").await.status, 200);
    let html = get(fixture.address, "/artifacts/evil.html").await;
    assert!(
        html.header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
}

/// Regressions 7 and 9 of SEED.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_leads_out_and_what_is_not_there_is_a_problem() {
    let fixture = with_artifacts();
    std::os::unix::fs::symlink("../status.json", fixture.dir.path().join("artifacts/link"))
        .unwrap();
    for path in [
        "/artifacts/../status.json",
        "/artifacts/%2e%2e/status.json",
        "/artifacts/..%2fstatus.json",
        "/artifacts/%2e%2e%2fstatus.json",
        "/artifacts/screenshots/../../status.json",
        "/artifacts//etc/passwd",
        "/artifacts/%2fetc%2fpasswd",
        "/artifacts/trace.zip%00",
        "/artifacts/%ff",
        "/artifacts/link",
        "/artifacts/screenshots",
        "/artifacts/unlisted",
        "/artifacts/absent",
        "/recording/screenshots/..%2ftrace.zip",
        "/recording/screenshots/2.jpg",
        "/artifacts/",
        "/nowhere",
    ] {
        let response = get(fixture.address, path).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (404, "NOT_FOUND"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_validators_let_a_download_go_on() {
    let fixture = with_artifacts();
    let get = |headers: Vec<(&'static str, String)>| async move {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        exchange(fixture.address, "GET /artifacts/trace.zip", &headers).await
    };
    let whole = get(vec![]).await;
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(etag.len(), 66);
    let range = |text: &str| ("range", text.to_owned());
    let part = get(vec![range("bytes=2-4")]).await;
    assert_eq!(
        (part.status, part.text(), part.header("content-range")),
        (206, "234", Some("bytes 2-4/10"))
    );
    let end = get(vec![range("bytes=-3"), ("if-range", etag.clone())]).await;
    assert_eq!((end.status, end.text()), (206, "789"));
    let changed = get(vec![
        range("bytes=-3"),
        ("if-range", "\"other\"".to_owned()),
    ])
    .await;
    assert_eq!((changed.status, changed.text()), (200, "0123456789"));
    let beyond = get(vec![range("bytes=10-")]).await;
    assert_eq!(
        (beyond.code().as_str(), beyond.header("content-range")),
        ("RANGE_NOT_SATISFIABLE", Some("bytes */10"))
    );
    assert_eq!(get(vec![("if-none-match", etag)]).await.status, 304);
}
