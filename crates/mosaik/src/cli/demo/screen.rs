//! The terminal while the demo draws on it: taken over, watched for keys, and given back.

use {
    super::{board::Board, view},
    core::time::Duration,
    ratatui::{
        DefaultTerminal,
        crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    },
    std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    },
    tokio::sync::mpsc,
};

/// Between two looks at whether the screen was closed.
const POLL: Duration = Duration::from_millis(50);

/// The terminal, in raw mode and on its alternate screen until it is dropped.
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    quit: mpsc::Receiver<()>,
    closed: Arc<AtomicBool>,
}

impl Screen {
    pub(crate) fn open() -> io::Result<Self> {
        // Restores the terminal when the program panics, too.
        let terminal = ratatui::try_init()?;
        let (sender, quit) = mpsc::channel(1);
        let closed = Arc::new(AtomicBool::new(false));
        let screen = Self {
            terminal,
            quit,
            closed: closed.clone(),
        };
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || watch_keys(&sender, &closed))?;
        Ok(screen)
    }

    pub(crate) fn draw(&mut self, board: &Board) -> io::Result<()> {
        self.terminal
            .draw(|frame| view::draw(board, frame))
            .map(|_| ())
    }

    /// Resolves when the user wants to stop; never without a screen.
    pub(crate) async fn quit(screen: Option<&mut Self>) {
        let asked = match screen {
            Some(screen) => screen.quit.recv().await,
            None => None,
        };
        if asked.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        ratatui::restore();
    }
}

/// Reports each key that means to stop, until the screen is closed or the terminal is gone.
fn watch_keys(quit: &mpsc::Sender<()>, closed: &AtomicBool) {
    while !closed.load(Ordering::Relaxed) {
        let event = match event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let Ok(event) = event else { return };
        if means_quit(&event) && quit.try_send(()).is_err() && quit.is_closed() {
            return;
        }
    }
}

fn means_quit(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_interrupt =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press
        && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
