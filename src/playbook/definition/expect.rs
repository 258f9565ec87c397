//! What a step expects, and how long its files and URLs are looked at.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::MAX_EXPECTATIONS;
use super::super::expression::{Names, Template, TemplateUse};
use super::super::model::{
    Expectations, FileExpectation, HttpExpectation, TextExpectation, Verify,
};
use super::super::reader::{Field, Fields, Reader};
use super::super::url::LoopbackUrl;

/// The keys of `expect`.
pub(in super::super) const EXPECT_KEYS: [&str; 5] = ["exit", "stdout", "stderr", "file", "http"];

/// The keys that say something of a text.
pub(in super::super) const TEXT_KEYS: [&str; 4] = ["contains", "not_contains", "equals", "matches"];

/// The keys of a file.
pub(in super::super) const FILE_KEYS: [&str; 6] = [
    "path",
    "exists",
    "contains",
    "not_contains",
    "equals",
    "matches",
];

/// The keys of an HTTP request.
pub(in super::super) const HTTP_KEYS: [&str; 7] = [
    "url",
    "status",
    "timeout",
    "contains",
    "not_contains",
    "equals",
    "matches",
];

/// The keys of `verify`.
pub(in super::super) const VERIFY_KEYS: [&str; 2] = ["within", "every"];

/// How long one HTTP request may take: from 100 ms, below which a busy host decides, to five minutes.
const HTTP_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);

/// How long one HTTP request may take when nothing is said.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long files and URLs may be looked at: up to an hour.
const WITHIN: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

/// The pause between two looks: from 50 ms, which costs a launch each, to a minute.
const EVERY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);

/// The pause between two looks when nothing is said.
const DEFAULT_EVERY: Duration = Duration::from_millis(500);

impl<'a> Reader<'a> {
    /// What a step expects; without a field, that its command exits with 0.
    pub(super) fn expectations(
        &mut self,
        field: Option<Field<'a>>,
        names: Names<'_>,
    ) -> Expectations {
        let mut expectations = Expectations {
            exit: vec![0],
            stdout: Vec::new(),
            stderr: Vec::new(),
            files: Vec::new(),
            http: Vec::new(),
        };
        let Some(fields) = field.and_then(|field| self.fields(&field, &EXPECT_KEYS)) else {
            return expectations;
        };
        if let Some(field) = fields.get("exit") {
            expectations.exit = self.numbers(&field, 0..=255);
        }
        if let Some(field) = fields.get("stdout")
            && let Some(fields) = self.fields(&field, &TEXT_KEYS)
        {
            expectations.stdout = self.texts(&fields, names);
        }
        if let Some(field) = fields.get("stderr")
            && let Some(fields) = self.fields(&field, &TEXT_KEYS)
        {
            expectations.stderr = self.texts(&fields, names);
        }
        if let Some(field) = fields.get("file") {
            for field in self.one_or_more(&field, MAX_EXPECTATIONS) {
                expectations.files.extend(self.file(&field, names));
            }
        }
        if let Some(field) = fields.get("http") {
            for field in self.one_or_more(&field, MAX_EXPECTATIONS) {
                expectations.http.extend(self.http(&field, names));
            }
        }
        expectations
    }

    /// One number or a list of different ones.
    fn numbers<T>(&mut self, field: &Field<'a>, bounds: RangeInclusive<T>) -> Vec<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Clone,
    {
        let mut numbers: Vec<T> = Vec::new();
        for item in self.one_or_more(field, MAX_EXPECTATIONS) {
            let Some(number) = self.integer(&item, bounds.clone()) else {
                continue;
            };
            if numbers.contains(&number) {
                self.conflict(&item, "give each number once");
            }
            numbers.push(number);
        }
        numbers
    }

    fn texts(&mut self, fields: &Fields<'a>, names: Names<'_>) -> Vec<TextExpectation> {
        let mut expectations = Vec::new();
        for (name, make) in [
            (
                "contains",
                TextExpectation::Contains as fn(Template) -> TextExpectation,
            ),
            ("not_contains", TextExpectation::NotContains),
            ("equals", TextExpectation::Equals),
        ] {
            let Some(field) = fields.get(name) else {
                continue;
            };
            for field in self.one_or_more(&field, MAX_EXPECTATIONS) {
                let Some(template) = self.template(&field, names, TemplateUse::Expectation) else {
                    continue;
                };
                if template.written().is_empty() && name != "equals" {
                    self.invalid(&field, "give a text that is not empty");
                }
                expectations.push(make(template));
            }
        }
        if let Some(field) = fields.get("matches") {
            for field in self.one_or_more(&field, MAX_EXPECTATIONS) {
                let pattern = self.pattern(&field);
                expectations.extend(pattern.map(TextExpectation::Matches));
            }
        }
        expectations
    }

    fn file(&mut self, field: &Field<'a>, names: Names<'_>) -> Option<FileExpectation> {
        let fields = self.fields(field, &FILE_KEYS)?;
        let content = self.texts(&fields, names);
        let exists = self.boolean(fields.get("exists"), true);
        if let Some(field) = fields.get("exists")
            && !exists
            && !content.is_empty()
        {
            let expected =
                "a file that must not exist has no content: leave out exists or the others";
            self.conflict(&field, expected);
        }
        let Some(field) = fields.get("path") else {
            self.missing(&fields, "path", "give the path of a file");
            return None;
        };
        let path = self.template(&field, names, TemplateUse::Expectation)?;
        if path.written().is_empty() {
            self.invalid(&field, "give the path of a file");
        }
        Some(FileExpectation {
            path,
            exists,
            content,
        })
    }

    fn http(&mut self, field: &Field<'a>, names: Names<'_>) -> Option<HttpExpectation> {
        let fields = self.fields(field, &HTTP_KEYS)?;
        let body = self.texts(&fields, names);
        let status = match fields.get("status") {
            Some(field) => self.numbers(&field, 100..=599),
            None => vec![200],
        };
        let timeout = match fields.get("timeout") {
            Some(field) => self.duration(&field, HTTP_TIMEOUTS),
            None => Some(HTTP_TIMEOUT),
        };
        let Some(field) = fields.get("url") else {
            self.missing(&fields, "url", "give http://127.0.0.1:PORT/PATH");
            return None;
        };
        let url = self.template(&field, names, TemplateUse::Expectation)?;
        // A URL with expressions is checked when their values are known.
        if url.is_literal()
            && let Err(_) = LoopbackUrl::parse(url.written())
        {
            let expected =
                "give http://127.0.0.1:PORT/PATH; only the loopback of the sandbox is looked at";
            self.invalid(&field, expected);
        }
        Some(HttpExpectation {
            url,
            status,
            body,
            timeout: timeout.unwrap_or(HTTP_TIMEOUT),
        })
    }

    /// How long files and URLs are looked at. Expectations `with_faults` may have named some.
    pub(super) fn verify(
        &mut self,
        field: &Field<'a>,
        expect: &Expectations,
        with_faults: bool,
    ) -> Option<Verify> {
        let fields = self.fields(field, &VERIFY_KEYS)?;
        if expect.files.is_empty() && expect.http.is_empty() && !with_faults {
            let expected =
                "expect a file or http: nothing else changes after the command has ended";
            self.conflict(field, expected);
        }
        let every = match fields.get("every") {
            Some(field) => self.duration(&field, EVERY).unwrap_or(DEFAULT_EVERY),
            None => DEFAULT_EVERY,
        };
        let Some(field) = fields.get("within") else {
            self.missing(&fields, "within", "give a duration such as 10s");
            return None;
        };
        let within = self.duration(&field, WITHIN)?;
        if let Some(field) = fields.get("every")
            && every > within
        {
            self.conflict(&field, "give a pause that is not longer than within");
        }
        Some(Verify { within, every })
    }
}
