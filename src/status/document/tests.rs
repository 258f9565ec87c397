use super::*;
use crate::run::ErrorCode;

#[test]
fn a_document_of_the_seed_system_is_read() {
    let seed = br#"{
        "run_id": "1f0c-abc", "status": "failed", "action_count": 1,
        "actions": [{"step": 1, "timestamp": "2026-01-02T03:04:05Z", "tool": "browser", "action": "click",
                     "input_summary": "", "duration_ms": 5, "success": true, "result_text": null,
                     "has_screenshot": false, "error": null}],
        "result": null, "error": "it broke", "duration_ms": 12, "data": null, "extracted_texts": ["a"],
        "session_memory": ""
    }"#;
    let document = StatusDocument::decode(seed).unwrap();
    assert_eq!(document.status, Status::Failed);
    assert_eq!(document.schema_version, 0);
    assert_eq!(document.phase, None);
    assert_eq!(document.actions.len(), 1);
    assert!(document.actions[0].json().contains("\"click\""));
    assert_eq!(
        document.error,
        Some(StatusError {
            code: UNCLASSIFIED.to_owned(),
            message: "it broke".to_owned(),
            details: None,
        })
    );
}

#[test]
fn every_form_of_error_is_read() {
    let error = |json: &str| {
        let json = format!(r#"{{"run_id":"r1","status":"failed","error":{json}}}"#);
        StatusDocument::decode(json.as_bytes()).unwrap().error
    };
    assert_eq!(error("null"), None);
    assert_eq!(error("\"text\"").unwrap().message, "text");
    let known = error(r#"{"code":"TIMEOUT","message":"m","details":{"a":1}}"#).unwrap();
    assert_eq!(known.code, ErrorCode::Timeout.as_str());
    assert_eq!(known.details, Some(serde_json::json!({ "a": 1 })));
    assert_eq!(
        error(r#"{"code":"OF_THE_FUTURE"}"#).unwrap().code,
        "OF_THE_FUTURE"
    );
}

#[test]
fn a_document_without_run_id_or_status_is_refused() {
    for json in [
        "",
        "{}",
        r#"{"run_id":"r1"}"#,
        r#"{"status":"failed"}"#,
        r#"{"run_id":"../x","status":"failed"}"#,
    ] {
        assert!(StatusDocument::decode(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn the_fields_are_those_of_the_contract_in_order() {
    let document = crate::status::StatusFold::new("r1".parse().unwrap()).document(0);
    let value: serde_json::Value = serde_json::from_slice(&document.encode().unwrap()).unwrap();
    let names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        names,
        [
            "run_id",
            "status",
            "action_count",
            "actions",
            "actions_from",
            "result",
            "error",
            "duration_ms",
            "data",
            "extracted_texts",
            "schema_version",
            "listen",
            "phase",
            "outcome",
            "started_at",
            "ended_at",
            "transitions",
            "last_event_id",
            "epoch",
            "isolation",
            "usage",
            "survivors",
            "recordings",
        ]
    );
}

#[test]
fn all_actions_fit_into_the_frame() {
    let json = br#"{"run_id":"r1","status":"running","action_count":3,"actions":[{"step":3}],"actions_from":3,
        "result":"\"actions\":["}"#;
    let document = StatusDocument::decode(json).unwrap();
    let frame = document.clone().frame().unwrap();
    let actions = br#"{"step":1},{"step":2},{"step":3}"#;
    let whole = [&frame.before[..], actions, &frame.after].concat();
    let all = StatusDocument::decode(&whole).unwrap();
    assert_eq!((all.actions.len(), all.actions_from), (3, 1));
    assert_eq!(all.result, document.result);
    let none = document.without_actions();
    assert_eq!((none.actions.len(), none.actions_from), (0, 4));
}
