//! Waits until a service is as it should be, and shows how it gets there.

use super::get;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::progress::{Display, Message, Watch};
use crate::spec::json::{at, int, text};
use docker_api::query::ListFiltered;
use futures_util::future::{Either, select};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Time between looks, as Docker has it.
const LOOK: Duration = Duration::from_millis(200);
/// How long all must be well before it counts, unless the service says otherwise.
const MONITOR: i128 = 5_000_000_000;

/// Watches the service; `quiet` waits without a word.
pub async fn converged(context: &Context, name: &str, quiet: bool) -> Result {
    let columns =
        context.host().stdout_is_terminal().then(|| context.host().terminal_size().map_or(80, |(_, columns)| columns));
    let mut screen = Screen { context, display: Display::new(columns), quiet };
    let mut watch: Option<Watch> = None;
    let (mut converged, mut since, mut rollback, mut monitor) = (false, None, false, MONITOR);
    let mut last_words: Option<Message> = None;
    // From here on an interrupt only ends the watching: also one that comes before the first pause, which would otherwise
    // end the program without a word, or be lost where it was started with interrupts ignored.
    select(context.host().interrupted(), std::future::ready(())).await;
    loop {
        let service = get(context, name).await?;
        if int(&service, "Spec.UpdateConfig.Monitor") != 0 {
            monitor = int(&service, "Spec.UpdateConfig.Monitor").into();
        }
        let watch = match &mut watch {
            Some(watch) => watch,
            None => watch.insert(Watch::new(&service)?),
        };
        let message = text(&service, "UpdateStatus.Message");
        match text(&service, "UpdateStatus.State") {
            "updating" => rollback = false,
            "completed" if !converged => return Ok(()),
            "paused" => return Err(CliError::new(format!("service update paused: {message}"))),
            "rollback_started" => {
                if !rollback && !message.is_empty() {
                    screen.say(&Message::new("rollback", message));
                }
                rollback = true;
            }
            "rollback_paused" => {
                return Err(CliError::new(format!("service rollback paused: {message}")));
            }
            "rollback_completed" => {
                if !converged {
                    last_words = Some(Message::new("rollback", message));
                }
                rollback = true;
            }
            _ => {}
        }
        let now = context.host().now().as_nanos();
        if converged && since.is_some_and(|since| now - since >= monitor) {
            screen.say(&Message::new("verify", format!("Service {name} converged")));
            if let Some(message) = &last_words {
                screen.say(message);
            }
            return Ok(());
        }
        let tasks = tasks(context, text(&service, "ID")).await?;
        let active = active_nodes(context).await?;
        let (messages, done) = watch.update(&service, &tasks, &active, rollback);
        for message in &messages {
            screen.say(message);
        }
        converged = done;
        if converged {
            if at(&service, "JobStatus").is_some() {
                screen.plain("job complete");
                return Ok(());
            }
            let now = context.host().now().as_nanos();
            let wait = monitor - (now - *since.get_or_insert(now));
            if wait >= 0 {
                // Never the whole period plus one: some of it has passed while looking.
                let seconds = (wait - 1).max(0) / 1_000_000_000 + 1;
                screen.say(&Message::new(
                    "verify",
                    format!("Waiting {seconds} seconds to verify that tasks are stable..."),
                ));
            }
        } else if since.take().is_some() {
            screen.say(&Message::new("verify", "Detected task failure"));
        }
        match select(context.host().sleep(LOOK), context.host().interrupted()).await {
            Either::Left(_) => {}
            Either::Right(_) => {
                if !converged {
                    screen.plain("Operation continuing in background.");
                    screen.plain(&format!("Use `docker service ps {name}` to check progress."));
                }
                return Ok(());
            }
        }
    }
}

struct Screen<'a> {
    context: &'a Context,
    display: Display,
    quiet: bool,
}

impl Screen<'_> {
    fn say(&mut self, message: &Message) {
        if !self.quiet {
            let text = self.display.draw(message);
            self.context.print(&text);
        }
    }

    fn plain(&mut self, text: &str) {
        if !self.quiet {
            let text = self.display.plain(text);
            self.context.print(&text);
        }
    }
}

async fn tasks(context: &Context, service: &str) -> Result<Vec<Value>> {
    let mut query = ListFiltered::default();
    query.filters.add("service", service);
    // Only tasks of the current specification; the filter is known to engines, though not documented.
    query.filters.add("_up-to-date", "true");
    Ok(context.client.list("/tasks", &query).await?)
}

/// Ids of the nodes that are not down.
pub async fn active_nodes(context: &Context) -> Result<BTreeSet<String>> {
    let nodes = context.client.list("/nodes", &ListFiltered::default()).await?;
    let active = nodes.iter().filter(|node| text(node, "Status.State") != "down");
    Ok(active.map(|node| text(node, "ID").to_owned()).collect())
}
