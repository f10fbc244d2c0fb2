//! The page of a run in a real browser, without a screen: what its script does, and what is seen on a
//! desk and on a telephone.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ppckvm::testing::Status;
use ppckvm::testing::excerpt::{Bounds, Excerpt};
use ppckvm::testing::report::{Attempt, Run, TestRun, html};
use serde_json::{Value, json};

/// The browser; tests/run.sh installs the package of this name.
const BROWSER: &str = "chromium-headless-shell";

/// What the console of a bad test says, with what a page could trip over.
const PANIC: &str = "Unable to handle kernel paging request at virtual address 0xdeadbeef";

fn console(text: &str) -> Excerpt {
    let mut console = Excerpt::new(Bounds {
        lines: 500,
        bytes: 64 << 10,
    });
    text.lines().for_each(|line| console.push(line));
    console
}

/// A run of so many tests: of 100, one crashed, one failed, one timed out, one was skipped, and one
/// passed at its second attempt.
fn run(tests: u64) -> Run {
    let boot: String = (0..120)
        .map(|line| format!("[    0.{line:06}] pci 0000:00:{line:02x}.0: BAR 0: assigned\n"))
        .collect();
    let evil = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">";
    let test = |number: u64| {
        let status = match number % 100 {
            7 => Status::Crashed,
            23 => Status::Failed,
            61 => Status::TimedOut,
            80 => Status::Skipped,
            _ => Status::Passed,
        };
        let begin = Duration::from_millis(number / 4 * 400 + number % 4 * 20);
        let attempt = |status: Status, begin: Duration| Attempt {
            status,
            verdict: match status {
                Status::Crashed => "the kernel panicked: not syncing: Fatal exception",
                Status::TimedOut => {
                    "the guest did not end within 30 s; it is idle, in default_idle"
                }
                _ => "the guest powered off",
            }
            .to_owned(),
            begin,
            end: begin + Duration::from_millis(280 + number * 37 % 100),
            console: match status {
                Status::Passed => console("Linux version 6.1.0\nok 1 all\n"),
                _ => console(&format!(
                    "{boot}\u{1b}[32m[ ok ]\u{1b}[0m {evil}\n{PANIC}\nOops: Kernel access of bad \
                     area, sig: 11 [#1]\n{boot}"
                )),
            },
            bad: None,
            post_mortem: match status {
                Status::Passed => String::new(),
                _ => "pc 0xc0004a1c <panic+0x1c>  lr 0xc0004a18\n".repeat(20),
            },
        };
        let attempts = match (status, number % 100) {
            (Status::Skipped, _) => Vec::new(),
            (_, 42) => vec![
                attempt(Status::Failed, begin),
                attempt(status, begin + Duration::from_millis(380)),
            ],
            _ => vec![attempt(status, begin)],
        };
        TestRun {
            name: format!(
                "drivers::net::virtio_net_{number:04}_{}",
                ["ping", "large_frames", "reset"][number as usize % 3]
            ),
            status,
            message: match status {
                Status::Skipped => "the kernel has no virtio-net".to_owned(),
                _ => String::new(),
            },
            attempts,
            repeat: format!(
                "ppckvm test boot.toml --kernel build/arch/powerpc/boot/uImage --filter '=net_{number:04}'"
            ),
            results: None,
        }
    };
    Run {
        title: "linux 6.1.0 bamboo_defconfig".to_owned(),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        took: Duration::from_millis(tests / 4 * 400 + 500),
        tests: (0..tests).map(test).collect(),
    }
}

fn page(run: &Run) -> String {
    let mut text = Vec::new();
    html::write(run, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Opens a page and returns the document as it is then.
fn open(page: &str, width: u32, fragment: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, page).unwrap();
    // For a look at what the test sees.
    if let Some(pictures) = std::env::var_os("PPCKVM_PICTURES") {
        let name = format!("page-{width}{}.png", fragment.replace('#', "-"));
        let picture = Path::new(&pictures).join(name);
        browse(
            folder.path(),
            width,
            &[&format!("--screenshot={}", picture.display())],
            &file,
            fragment,
        );
    }
    browse(folder.path(), width, &["--dump-dom"], &file, fragment)
}

fn browse(profile: &Path, width: u32, options: &[&str], file: &Path, fragment: &str) -> String {
    let out = Command::new("timeout")
        .arg("120")
        .arg(BROWSER)
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=10000",
        ])
        .arg(format!(
            "--user-data-dir={}",
            profile.join("profile").display()
        ))
        .arg(format!("--window-size={width},800"))
        .args(options)
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .expect("timeout is a part of coreutils");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{BROWSER} could not open the page ({}); tests/run.sh installs the package of that name, or \
         use: apt-get install {BROWSER}\n{said}",
        out.status
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Opens a page with a script that uses it, and returns what that script says in `said`. The page
/// keeps its own policy, but for this script.
fn drive(run: &Run, width: u32, fragment: &str, script: &str) -> Value {
    let page = page(run);
    let driver = format!(
        "<script nonce=\"driver\">\n\
         const look = (text) => [...document.querySelectorAll(text)];\n\
         const seen = (text) => look(text).filter((e) => e.checkVisibility() && e.getClientRects().length);\n\
         const press = (key, on = document.activeElement) =>\n\
           on.dispatchEvent(new KeyboardEvent('keydown', {{ key, bubbles: true, cancelable: true }}));\n\
         const type = (text) => {{ search.value = text; search.dispatchEvent(new Event('input')); }};\n\
         const rest = () => new Promise((done) => setTimeout(done, 50));\n\
         const said = {{}};\n\
         addEventListener('load', async () => {{\n\
           try {{ {script} }} catch (error) {{ said.error = String(error); }}\n\
           const out = document.createElement('output');\n\
           out.id = 'said';\n\
           out.textContent = '@@' + encodeURIComponent(JSON.stringify(said)) + '@@';\n\
           document.body.append(out);\n\
         }});\n\
         </script>\n</body>"
    );
    let copy = page
        .replacen(
            "script-src 'sha256-",
            "script-src 'nonce-driver' 'sha256-",
            1,
        )
        .replacen("</body>", &driver, 1);
    assert_ne!(copy, page);
    let document = open(&copy, width, fragment);
    let text = document
        .split("@@")
        .nth(3)
        .unwrap_or_else(|| panic!("the script said nothing: {document:.2000}"));
    serde_json::from_str(&decoded(text)).unwrap()
}

/// A text of `encodeURIComponent`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap().bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_page_itself_runs_its_script_and_nothing_of_a_guests() {
    let document = open(&page(&run(100)), 1200, "");
    assert!(document.contains("<html lang=\"en\" class=\"live\">"));
    assert!(document.contains("<title>3 failed: linux"));
    assert_eq!(document.matches("<script").count(), 1);
    assert!(!document.contains("<img"));
}

#[test]
fn of_a_thousand_tests_filter_search_and_order_show_those_that_are_wanted() {
    let said = drive(
        &run(1000),
        1200,
        "",
        "
        said.all = seen('.test').length;
        said.worst = look('.test')[0].dataset.word;
        said.bars = look('.times rect').length;
        said.title = document.title;
        said.style = getComputedStyle(look('.tools')[0]).position;
        const button = (word) => look(`button[data-word=${word}]`)[0];
        button('failed').click();
        said.failed = seen('.test').map((e) => e.dataset.word);
        said.pressed = button('failed').getAttribute('aria-pressed');
        button('timeout').click();
        said.two = seen('.test').length;
        button('failed').click();
        button('timeout').click();
        type('0123 LARGE');
        said.none = seen('.test').length;
        said.note = seen('#none').length;
        type('0124 LARGE');
        said.found = seen('.test .name').map((e) => e.textContent);
        said.shown = shown.textContent;
        type('has no virtio');
        said.reasons = seen('.test').length;
        type('');
        order.value = 'slow';
        order.dispatchEvent(new Event('change'));
        const took = look('.test').map((e) => Number(e.dataset.took));
        said.sorted = took.every((one, at) => at === 0 || took[at - 1] >= one);
        order.value = 'run';
        order.dispatchEvent(new Event('change'));
        said.first = look('.test')[0].id;
        said.wide = document.documentElement.scrollWidth <= innerWidth;
        ",
    );
    assert_eq!(
        said,
        json!({
            "all": 1000, "worst": "crashed", "bars": 1000, "title": "30 failed: linux 6.1.0 bamboo_defconfig",
            "style": "sticky", "failed": vec!["failed"; 10], "pressed": "true", "two": 20,
            "none": 0, "note": 1, "found": ["drivers::net::virtio_net_0124_large_frames"],
            "shown": "1 of 1000", "reasons": 10, "sorted": true, "first": "t0", "wide": true,
        })
    );
}

#[test]
fn a_test_that_is_opened_shows_its_first_bad_line() {
    let said = drive(
        &run(100),
        1200,
        "",
        "
        const test = look('.test')[0];
        said.before = seen('.test pre').length;
        test.firstElementChild.click();
        await rest();
        const mark = test.querySelector('mark');
        const pre = mark.parentElement;
        const [inner, outer] = [mark.getBoundingClientRect(), pre.getBoundingClientRect()];
        said.mark = mark.textContent;
        said.inside = inner.top >= outer.top && inner.bottom <= outer.bottom;
        said.scrolled = pre.scrollTop > 0;
        said.repeat = test.querySelector('code').textContent;
        said.verdict = test.querySelector('.why').textContent;
        said.mortem = seen('details details pre').length;
        test.querySelector('details details summary').click();
        await rest();
        said.opened = seen('details details pre').length;
        said.colour = getComputedStyle(test.querySelector('.f2')).color !== getComputedStyle(pre).color;
        ",
    );
    assert_eq!(
        said,
        json!({
            "before": 0, "mark": PANIC, "inside": true, "scrolled": true,
            "repeat": "ppckvm test boot.toml --kernel build/arch/powerpc/boot/uImage --filter '=net_0007'",
            "verdict": "the kernel panicked: not syncing: Fatal exception",
            "mortem": 0, "opened": 1, "colour": true,
        })
    );
}

#[test]
fn keys_search_step_and_leave() {
    let said = drive(
        &run(100),
        1200,
        "",
        "
        press('/', document.body);
        said.search = document.activeElement.id;
        type('ping');
        const some = seen('.test').length;
        press('Escape');
        said.left = [some < 100, seen('.test').length, document.activeElement.id];
        const at = () => document.activeElement.closest('.test').id;
        press('j', document.body);
        const first = at();
        press('j');
        said.stepped = [first, at()];
        press('k');
        said.back = at() === first;
        ",
    );
    let expected = json!({
        "search": "search", "left": [true, 100, ""], "stepped": ["t7", "t23"], "back": true,
    });
    assert_eq!(said, expected);
}

#[test]
fn a_link_to_a_test_opens_it() {
    let script = "
        await rest();
        said.open = seen('.test[open]').map((e) => e.id);
        const { top } = document.getElementById('t61').getBoundingClientRect();
        said.seen = top >= 0 && top < innerHeight;
        look('button[data-word=passed]')[0].click();
        location.hash = '#t23';
        await rest();
        said.next = seen('.test[open]').map((e) => e.id);
    ";
    let said = drive(&run(1000), 1200, "#t61", script);
    let expected = json!({ "open": ["t61"], "seen": true, "next": ["t23", "t61"] });
    assert_eq!(said, expected);
}

#[test]
fn on_a_telephone_nothing_is_wider_than_the_screen() {
    let said = drive(
        &run(1000),
        380,
        "#t7",
        "
        await rest();
        said.inner = innerWidth;
        said.closed = document.documentElement.scrollWidth <= innerWidth;
        for (const test of look('details')) test.open = true;
        await rest();
        said.open = document.documentElement.scrollWidth <= innerWidth;
        const wide = seen('.name, .why, .took, pre, button, input, select')
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5);
        said.wide = wide.length;
        said.tests = seen('.test').length;
        ",
    );
    let expected = json!({ "inner": 380, "closed": true, "open": true, "wide": 0, "tests": 1000 });
    assert_eq!(said, expected);
}

#[test]
fn without_a_script_all_tests_read_and_the_tools_are_away() {
    // A policy that allows no script is what a viewer of artifacts often has.
    let page = page(&run(100));
    let copy = page.replacen("script-src 'sha256-", "script-src 'none' 'sha512-", 1);
    let document = open(&copy, 1200, "");
    assert!(document.contains("<html lang=\"en\">"));
    assert!(document.contains("role=\"search\" hidden"));
    assert_eq!(document.matches("<details class=\"test ").count(), 100);
}
