//! The page as text: whole, bounded, and with nothing of a guest's in it but text.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::run::sample_run;
use super::*;
use crate::testing::excerpt::{Bounds, Excerpt};
use crate::testing::report::Attempt;

fn page(run: &Run) -> String {
    let mut text = Vec::new();
    write(run, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// How often each tag stands in a page, and all attributes' names.
fn tags(page: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let tag = &rest[at..];
        let name: String = tag[1..]
            .chars()
            .take_while(|c| !" >\n".contains(*c))
            .collect();
        // Neither holds a `<` that begins a tag, and ends only with its own end.
        let end = match name.as_str() {
            "style" => tag.find("</style").unwrap(),
            "script" => tag.find("</script").unwrap(),
            _ => tag.find('>').unwrap(),
        };
        let inside = tag[..end].split('>').next().unwrap();
        for (number, part) in inside.split('"').enumerate() {
            if let (0, Some(attribute)) = (number % 2, part.strip_suffix('=')) {
                let attribute = attribute.rsplit(' ').next().unwrap();
                *found.entry(format!("{name} {attribute}")).or_default() += 1;
            }
        }
        *found.entry(name).or_default() += 1;
        rest = &tag[end..];
    }
    found
}

/// The run with one test, in which every text is the same.
fn run_of(text: &str) -> Run {
    let mut run = sample_run();
    let mut console = Excerpt::new(Bounds {
        lines: 1000,
        bytes: 1 << 20,
    });
    text.lines().for_each(|line| console.push(line));
    run.title = text.to_owned();
    run.tests.truncate(2);
    let test = &mut run.tests[1];
    let attempt = Attempt {
        verdict: text.to_owned(),
        console,
        bad: None,
        post_mortem: format!("at {text}"),
        ..test.attempts[0].clone()
    };
    test.name = text.to_owned();
    test.message = format!("because {text}");
    test.repeat = format!("run {text}");
    test.attempts = vec![attempt];
    for case in &mut test.results.as_mut().unwrap().cases {
        case.name = text.to_owned();
        case.message = text.to_owned();
        case.log = format!("log {text}");
    }
    run
}

#[test]
fn a_page_holds_what_is_known_of_each_test() {
    let page = page(&sample_run());
    for part in [
        "<title>2 failed: sample &amp; co</title>",
        "<span class=\"crashed\">1 crashed</span>",
        "5 tests in 4.50 s, begun 2000-02-29 12:08:05 UTC</p>",
        "<details class=\"test crashed\" id=\"t2\" data-word=\"crashed\" data-took=\"1.500\">\
         <summary><span class=\"word\">crashed</span>\
         <span class=\"name\">disk::&lt;/script&gt;&lt;script&gt;</span>\
         <span class=\"why\">100%: the kernel panicked</span>\
         <span class=\"took\">1.50 s</span></summary>",
        "<span class=\"f1\">red</span> &lt;b&gt;&amp;\n\
         <mark id=\"t2-0\">Kernel panic - not syncing: &lt;x&gt;</mark></pre>",
        "<a href=\"#t2-0\">First bad line</a>",
        "<summary>Post-mortem</summary><pre tabindex=\"0\">pc 0xc0001234 &lt;panic+0x10&gt;</pre>",
        "<code>ppckvm test --filter &#39;=boot&#39;</code>",
        "<h3>Its tests: 3 passed, 1 failed, 1 timed out",
        "Attempt 1: timeout after 1.50 s",
        "<p class=\"quiet\">No guest ran.</p>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let order: Vec<usize> = ["t2", "t1", "t3", "t0", "t4"]
        .iter()
        .map(|id| page.find(&format!(" id=\"{id}\"")).unwrap())
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_page_names_nothing_outside_itself() {
    let page = page(&sample_run());
    let tags = tags(&page);
    for tag in [
        "link", "img", "iframe", "object", "embed", "base", "form", "audio", "video",
    ] {
        assert!(!tags.contains_key(tag), "{tag}");
    }
    assert!(!page.contains("://"));
    assert!(!page.contains("@import") && !STYLE.contains("url("));
    let outer = tags
        .keys()
        .filter(|tag| tag.ends_with(" src") || tag.contains(" on"));
    assert_eq!(outer.count(), 0);
}

#[test]
fn neither_style_nor_script_ends_early() {
    for text in [STYLE, SCRIPT] {
        assert!(!text.contains("</") && !text.contains("<!--"));
    }
    assert!(!PAGE.replace("@", "").is_empty() && PAGE.split('@').count() == 19);
}

#[test]
fn marks_of_the_template_in_a_guests_text_stay_text() {
    let page = page(&run_of("@SCRIPT@"));
    assert!(page.contains("<h1>@SCRIPT@</h1>"));
    assert_eq!(page.matches("\"use strict\"").count(), 1);
}

#[test]
fn a_run_without_tests_is_a_page_that_says_so() {
    let mut run = sample_run();
    run.tests.clear();
    let page = page(&run);
    assert!(page.contains("<title>no tests: "), "{page}");
    assert!(page.contains("<span>no tests</span>"), "{page}");
}

#[test]
fn the_only_bad_test_is_open() {
    let mut run = sample_run();
    assert!(!page(&run).contains(" open>"));
    run.tests.remove(1);
    assert_eq!(page(&run).matches(" open>").count(), 1);
}

#[test]
fn a_page_is_bounded_and_keeps_what_is_bad() {
    let mut run = sample_run();
    let text = format!("{}\n", "\u{2028}<".repeat(500)).repeat(200);
    let mut test = run_of(&text).tests.remove(1);
    test.attempts = vec![test.attempts[0].clone(); 12];
    let passed = run.tests[0].clone();
    run.tests = vec![passed; TESTS];
    run.tests.extend(vec![test; 20]);
    let page = page(&run);
    assert!(page.len() < TEXT + TESTS * 2 * WORDS * 10, "{}", page.len());
    assert!(page.contains("20 more tests, none worse than these"));
    assert!(page.contains("The page is full"));
    assert_eq!(page.matches("<details class=\"test failed\"").count(), 20);
}

#[test]
fn base64_is_the_one_of_rfc_4648() {
    let expected = [
        "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
    ];
    for (length, expected) in expected.iter().enumerate() {
        assert_eq!(base64(&b"foobar"[..length]), *expected);
    }
}

#[test]
fn a_thousand_tests_are_a_page_of_few_megabytes() {
    let mut run = sample_run();
    let mut tests = Vec::new();
    for number in 0..1000 {
        let mut test = run.tests[0].clone();
        test.name = format!("suite::test_{number}");
        test.attempts[0].begin = Duration::from_millis(number * 250);
        test.attempts[0].end = Duration::from_millis(number * 250 + 1000);
        tests.push(test);
    }
    run.tests = tests;
    let page = page(&run);
    assert!(page.len() < 2 << 20, "{}", page.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_changes_the_tags_of_a_page(
        bytes in any::<Vec<u8>>(),
        markup in prop::sample::select(vec![
            "", "</script><script>alert(1)</script>", "<!--", "-->", "]]>", "\" onclick=\"x",
            "' onload='x", "</pre></details>", "&lt;", "\u{2028}", "\0", "\u{1b}[31m<b>", "@TESTS@",
        ]),
    ) {
        let text = format!("x{}{markup}", String::from_utf8_lossy(&bytes));
        // One line, so that both pages have as many; and no colours, which are spans.
        let text = text.replace(['\n', '\r', '\u{85}'], " ");
        let mut found = tags(&page(&run_of(&text)));
        let mut expected = tags(&page(&run_of("x")));
        for tags in [&mut found, &mut expected] {
            for name in ["span", "/span", "span class"] {
                tags.remove(name);
            }
        }
        prop_assert_eq!(found, expected);
    }
}
