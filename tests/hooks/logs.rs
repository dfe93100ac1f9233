//! What is logged by the thread of a test.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Once;

thread_local! {
    static HERE: RefCell<Vec<Rc<RefCell<Vec<u8>>>>> = const { RefCell::new(Vec::new()) };
}

/// Begins to listen, once for all tests: a subscriber that comes while others log may never hear of a place that logs
/// just then for the first time.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_global_default(all.with_writer(|| Here).finish()).unwrap();
    });
}

/// What this thread has logged since.
pub struct Logs(Rc<RefCell<Vec<u8>>>);

impl Logs {
    pub fn of_this_thread() -> Self {
        listen();
        let logs = Rc::<RefCell<Vec<u8>>>::default();
        HERE.with_borrow_mut(|here| here.push(Rc::clone(&logs)));
        Self(logs)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

/// Writes to whoever listens on this thread.
struct Here;

impl Write for Here {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HERE.with_borrow(|here| here.iter().for_each(|logs| logs.borrow_mut().extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
