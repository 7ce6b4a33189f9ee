//! The error body of the Engine API. Which status goes with it is the route's decision, not this crate's.

use serde::{Deserialize, Serialize};

/// Every answer of the engine with a status of 400 or above carries this JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, in words for the person at the client.
    pub message: String,
}

impl ErrorBody {
    /// Wraps a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// The body as the engine sends it: one line of JSON, ended by a newline.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::json!({ "message": self.message }).to_string();
        json.push('\n');
        json
    }

    /// Reads an error answer. Proxies and old engines answer in plain text, which is then the message itself.
    pub fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            Self::new(text.trim())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_round_trip() {
        let body = ErrorBody::new("no such \"thing\"");
        assert_eq!(body.to_json(), "{\"message\":\"no such \\\"thing\\\"\"}\n");
        assert_eq!(ErrorBody::parse(body.to_json().as_bytes()), body);
    }

    #[test]
    fn plain_text_is_its_own_message() {
        assert_eq!(ErrorBody::parse(b"404 page not found\n").message, "404 page not found");
    }
}
