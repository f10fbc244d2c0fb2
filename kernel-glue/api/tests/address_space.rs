//! A process that may not have the address space that the translator's tables take.

use std::sync::Arc;

use ppckvm_api::{
    Accel, Clock, CpuError, Engine, EngineChoice, Kvm, TranslatorError, Vcpu, VmError, VmOptions,
    memory_file,
};
use rustix::process::{Resource, Rlimit, setrlimit};

fn vcpu(engine: EngineChoice) -> Result<Vcpu, VmError> {
    let ram = Arc::new(memory_file(1 << 20).expect("a memory file"));
    let kvm = Kvm::open(Accel::Inproc).expect("this process");
    let options = VmOptions {
        clock: Clock::Virtual,
        timer_hz: 1,
        engine,
        windows: true,
    };
    kvm.create_vm(ram, options).create_vcpu()
}

// One test: the limit is the whole process's.
#[test]
fn auto_takes_the_interpreter_and_says_why_where_the_translator_has_no_room() {
    if !Engine::Translator.is_supported() {
        return;
    }
    let free = vcpu(EngineChoice::Auto).expect("a cpu");
    assert_eq!(free.engine(), Engine::Translator);
    assert!(free.not_translator().is_none());
    drop(free);

    let limit = |bytes: u64| {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: None,
        };
        setrlimit(Resource::As, limit).expect("a lower limit");
    };
    // Room for the tables and not for the windows: the translator, without them.
    limit(8 << 30);
    let narrow = vcpu(EngineChoice::Auto).expect("a cpu");
    assert_eq!(narrow.engine(), Engine::Translator);
    let translator = narrow.statistics().translator.expect("a translator");
    assert_eq!(translator.shown_pages, None);
    drop(narrow);

    limit(2 << 30);
    let auto = vcpu(EngineChoice::Auto).expect("a cpu");
    assert_eq!(auto.engine(), Engine::Interpreter);
    let why = auto.not_translator().expect("a reason");
    assert!(matches!(why, TranslatorError::Tables { .. }), "{why}");
    let why = why.to_string();
    assert!(
        why.contains("MiB of address space") && why.contains("ulimit -v"),
        "{why}"
    );
    drop(auto);

    let jit = vcpu(EngineChoice::Only(Engine::Translator)).map(drop);
    let error = jit.expect_err("no room").to_string();
    assert!(
        error.starts_with(&why) && error.contains("interpreter"),
        "{error}"
    );

    let interpreter = vcpu(EngineChoice::Only(Engine::Interpreter)).expect("a cpu");
    assert!(
        interpreter.not_translator().is_none(),
        "nobody asked for it"
    );
    drop(interpreter);

    limit(200 << 20);
    for engine in [EngineChoice::Auto, EngineChoice::Only(Engine::Interpreter)] {
        let error = vcpu(engine).map(drop).expect_err("no room for any");
        let tables = matches!(error, VmError::Cpu(CpuError::Tables { .. }));
        assert!(tables && error.to_string().contains("ulimit -v"), "{error}");
    }
}
