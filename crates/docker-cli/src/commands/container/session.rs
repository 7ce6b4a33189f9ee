//! Being joined to a container: the attachment, and the exit code at its end.

use crate::client::{Answer, Body, path};
use crate::context::{Context, Conversation, Local};
use crate::error::{CliError, Result};
use crate::spec::json::{int, text};
use docker_api::query::{AttachContainer, QueryParams, WaitContainer};
use futures_util::future::{Either, select};
use serde_json::Value;
use std::time::Duration;

/// Attaches to a container; signals to this program are from now on for the container if they are to be `passed`.
pub async fn attach(
    context: &Context,
    id: &str,
    query: &AttachContainer,
    passed: bool,
) -> Result<Box<dyn Conversation>> {
    let target = path("/containers", id, "/attach");
    let mut conversation = context.client.converse(&target, &query.to_query(), Body::Empty).await?;
    if passed {
        conversation.catch_signals();
    }
    Ok(conversation)
}

/// The end of a container, asked for before it starts, so that none can be missed.
pub struct Exit<'a> {
    head: Option<Local<'a, Answer<crate::client::Response>>>,
    response: Option<Answer<crate::client::Response>>,
}

impl<'a> Exit<'a> {
    pub fn new(context: &'a Context, id: &str, condition: &str) -> Self {
        let query = WaitContainer { condition: condition.into() }.to_query();
        let target = path("/containers", id, "/wait");
        let head = Box::pin(async move { context.client.send("POST", &target, &query, Body::Empty).await });
        Self { head: Some(head), response: None }
    }

    /// The exit code.
    pub async fn code(mut self) -> Result<i64> {
        let response = match (self.response.take(), self.head.take()) {
            (Some(response), _) => response?,
            (None, Some(head)) => head.await?,
            (None, None) => return Err(CliError::with_code(125, "nothing to wait for")),
        };
        let body = response.bytes().await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|e| CliError::with_code(125, format!("cannot read the container's exit code: {e}")))?;
        match text(&answer, "Error.Message") {
            "" => Ok(int(&answer, "StatusCode")),
            message => Err(CliError::with_code(125, format!("Error waiting for container: {message}"))),
        }
    }
}

/// Gives the request time to arrive. Engines answer its head at once; for those that do not, a moment must do.
pub async fn wait_early(context: &Context, exit: &mut Exit<'_>) {
    let Some(head) = exit.head.take() else { return };
    match select(head, context.host().sleep(Duration::from_millis(500))).await {
        Either::Left((response, _)) => exit.response = Some(response),
        Either::Right((_, head)) => exit.head = Some(head),
    }
}

/// Ends with a container's exit code.
pub fn exit_code(code: i64) -> Result {
    match code {
        0 => Ok(()),
        code => Err(CliError::silent(u8::try_from(code).unwrap_or(125))),
    }
}
